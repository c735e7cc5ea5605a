"""Pictures changed a little, anew in each epoch: a function of (seed, epoch, index), whatever was read before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from genplatform.errors import BadRequest

_STREAM = 3  # beside those of the split and the order
_MIX = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


@dataclass(frozen=True)
class Augment:
    """What is done to a picture: mirrored or not, and moved by up to `shift` pixels each way, its edge drawn out."""

    flip: bool = False
    shift: int = 0

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Augment:
        """Read it from a spec's `data:`."""
        return cls(**(data.get("augment") or {}))

    def applied(self, batch: dict[str, Tensor], indices: Tensor, epochs: Tensor, seed: int) -> dict[str, Tensor]:
        """Return the batch with its pictures changed; raises BadRequest where the items are no pictures."""
        if not self.flip and not self.shift:
            return batch
        if batch["x"].ndim != 4:
            raise BadRequest("data.augment is for pictures, and these are none.", "Leave it out.")
        noise = _noise(seed, epochs.numpy(), indices.numpy())
        # Both pictures of a pair alike.
        return batch | {name: self._changed(batch[name], noise) for name in ("x", "source") if name in batch}

    def _changed(self, x: Tensor, noise: np.ndarray[Any, np.dtype[np.uint64]]) -> Tensor:
        if self.flip:
            mirrored = torch.from_numpy((noise & np.uint64(1)).astype(bool))
            x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
        return self._moved(x, noise) if self.shift else x

    def _moved(self, x: Tensor, noise: np.ndarray[Any, np.dtype[np.uint64]]) -> Tensor:
        wide, (_, _, height, width) = np.uint64(2 * self.shift + 1), x.shape
        down = torch.from_numpy(((noise >> np.uint64(1)) % wide).astype(np.int64))
        right = torch.from_numpy(((noise >> np.uint64(32)) % wide).astype(np.int64))
        padded = functional.pad(x, (self.shift,) * 4, mode="replicate")
        rows = (down[:, None] + torch.arange(height))[:, None, :, None]
        columns = (right[:, None] + torch.arange(width))[:, None, None, :]
        every = torch.arange(len(x))[:, None, None, None]
        channels = torch.arange(x.shape[1])[None, :, None, None]
        return padded[every, channels, rows, columns]


def _noise(seed: int, epochs: Any, indices: Any) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Return 64 random bits a row (SplitMix64 over stream and seed, epoch, index, one after the other)."""
    state = np.full(len(indices), (seed ^ (_STREAM << 56)) % 2**64, dtype=np.uint64)
    for part in (epochs, indices):
        state = _mixed(state) + part.astype(np.uint64)
    return _mixed(state)


def _mixed(state: np.ndarray[Any, np.dtype[np.uint64]]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(_MIX[0])
    state = (state ^ (state >> np.uint64(27))) * np.uint64(_MIX[1])
    return state ^ (state >> np.uint64(31))
