"""Data addressed by index, with the digest of what was read; its split; and its order.

Order is a function of (seed, epoch), so that a run that goes on at step N reads exactly what
it would have read.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from genplatform.errors import BadRequest
from genworkers.recipes.base import ItemShape

PARTS = ("train", "validation", "test")
DEFAULT_SPLIT = {"train": 0.70, "validation": 0.15, "test": 0.15}
BY_ITEM, BY_CONTENT = "item", "content"

# Keys of independent random streams; the numbers are part of what makes a run repeatable.
_SPLIT_STREAM = 1
_ORDER_STREAM = 2


class Dataset(ABC):
    """Items by their index: pictures as "x" (N, channels, height, width) in [-1, 1], "label" as int64.

    Texts are (N, longest) of their UTF-8 bytes, int16, filled up with -1; token blocks (N, length) of int64.

    `digest` covers all that was read of them, `classes` are the labels' names, and `notes` what a
    person should know of the reading. `revision` is the commit that was read, where the source has such.
    """

    modality: ClassVar[str] = "image"
    name: str
    digest: str
    labels: Tensor | None
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    revision: str | None = None

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    @abstractmethod
    def shape(self) -> ItemShape | None:
        """The size of one picture; None where items are none."""

    @abstractmethod
    def rows(self, indices: Tensor) -> dict[str, Tensor]:
        """Return those items as a batch."""

    def groups(self, by: str) -> Sequence[str] | np.ndarray[Any, Any]:
        """Return, an item each, what must not be parted; raises BadRequest where it is not known."""
        if by == BY_CONTENT:
            return self.contents()
        raise BadRequest(f"The data of {self.name} cannot be split by {by!r}.", f"Possible: {BY_ITEM}, {BY_CONTENT}.")

    def contents(self) -> np.ndarray[Any, Any]:
        """Return 64 bits of each item's digest: equal items have equal ones."""
        found = [content_of(self.rows(torch.tensor([index]))["x"].numpy()) for index in range(len(self))]
        return np.array(found, dtype=np.uint64)


@dataclass(frozen=True)
class Pictures(Dataset):
    """Pictures in memory, in [-1, 1], and their classes if known."""

    name: str
    pictures: Tensor
    labels: Tensor | None
    digest: str

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def shape(self) -> ItemShape:
        """The size of one picture."""
        _, channels, height, width = self.pictures.shape
        return ItemShape(height, width, channels)

    def rows(self, indices: Tensor) -> dict[str, Tensor]:
        """Return those items as a batch."""
        batch = {"x": self.pictures[indices]}
        if self.labels is not None:
            batch["label"] = self.labels[indices]
        return batch


@dataclass(frozen=True)
class PairedPictures(Pictures):
    """Pictures in memory, and those that they are to be made of."""

    sources: Tensor

    @property
    def source_shape(self) -> ItemShape:
        """The size of a picture that one is made of."""
        _, channels, height, width = self.sources.shape
        return ItemShape(height, width, channels)

    def rows(self, indices: Tensor) -> dict[str, Tensor]:
        """Return those pairs as a batch."""
        return super().rows(indices) | {"source": self.sources[indices]}


def content_of(item: np.ndarray[Any, Any]) -> int:
    """Return 64 bits of the digest of an item's bytes."""
    return int.from_bytes(hashlib.blake2b(np.ascontiguousarray(item).data, digest_size=8).digest(), "little")


def _shuffled(count: int, *key: int) -> Tensor:
    """Return a permutation that is a function of `key` alone (each part below 2**32, except the last)."""
    folded = 0
    for part in key:
        folded = (folded << 32) | part
    generator = np.random.Generator(np.random.Philox(key=folded % 2**128))
    return torch.from_numpy(generator.permutation(count))


def split(dataset: Dataset, wanted: Mapping[str, Any] | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Cut the data as a spec's `split:` says; return the parts' indices, and the record of how they were made."""
    asked = dict(DEFAULT_SPLIT if wanted is None else wanted)
    by, seed = str(asked.pop("by", BY_ITEM)), int(asked.pop("seed", 0))
    if by == BY_ITEM:
        parts = split_indices(len(dataset), asked, seed)
    else:
        parts = _split_groups(dataset.groups(by), _checked(asked), seed, by)
    counts = {name: len(part) for name, part in parts.items()}
    record = {"shares": asked, "seed": seed, "counts": counts}
    return parts, record if by == BY_ITEM else record | {"by": by}


def split_indices(count: int, shares: Mapping[str, float] | None = None, seed: int = 0) -> dict[str, Tensor]:
    """Cut `count` items into train, validation and test, shuffled by `seed`, each index in exactly one.

    `shares` must add up to 1; the seed is not the run's, so that runs with other seeds hold
    out the same items. Raises BadRequest when nothing is left to train on.
    """
    wanted = _checked(DEFAULT_SPLIT if shares is None else shares)
    shuffled = _shuffled(count, _SPLIT_STREAM, seed % 2**32)
    parts, start, share = {}, 0, 0.0
    for part in PARTS:
        share += wanted.get(part, 0.0)
        # Rounding first: 0.7 + 0.15 + 0.15 is a hair below 1 in binary, which would lose an item.
        end = math.floor(round(share * count, 6))
        parts[part] = shuffled[start:end]
        start = end
    if not len(parts["train"]):
        raise BadRequest(
            f"A split of {wanted} leaves nothing of {count} items to train on.",
            "Raise split.train, or bring more data.",
        )
    return parts


def _checked(shares: Mapping[str, float]) -> dict[str, float]:
    wanted = dict(shares)
    unknown = sorted(set(wanted) - set(PARTS))
    if unknown or any(share < 0 for share in wanted.values()) or not math.isclose(sum(wanted.values()), 1.0):
        raise BadRequest(
            f"The split {wanted} cannot be used.", "Give train, validation and test as shares that add up to 1."
        )
    return wanted


def _split_groups(
    groups: Sequence[str] | np.ndarray[Any, Any], wanted: Mapping[str, float], seed: int, by: str
) -> dict[str, Tensor]:
    """Cut items so that none of their groups is parted: each goes, whole, to where its middle falls."""
    _, of_item, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    order = _shuffled(len(sizes), _SPLIT_STREAM, seed % 2**32).numpy()
    middles = np.empty(len(sizes))
    middles[order] = np.cumsum(sizes[order]) - sizes[order] / 2
    ends = np.cumsum([wanted.get(part, 0.0) for part in PARTS]) * len(of_item)
    part_of_group = np.searchsorted(ends[:-1], middles, side="right")
    parts = {
        part: torch.from_numpy(np.flatnonzero(part_of_group[of_item] == number)) for number, part in enumerate(PARTS)
    }
    without = [part for part in PARTS if wanted.get(part, 0.0) > 0 and not len(parts[part])]
    if without:
        raise BadRequest(
            f"Split by {by}, {len(of_item):,} items make {len(sizes):,} groups, and none falls to {without[0]}.",
            "Change the shares or split.seed, or split by something finer.",
        )
    return parts


@dataclass
class Order:
    """Which items each step reads: epochs end to end, each shuffled anew by (seed, epoch)."""

    indices: Tensor
    batch_size: int
    seed: int
    _epochs: dict[int, Tensor] = field(default_factory=dict)

    def batch(self, step: int, rank: int = 0, world_size: int = 1) -> Tensor:
        """Return the indices of one step (from 0): this rank's every `world_size`-th row of the whole batch."""
        start, end, count = step * self.batch_size + rank, (step + 1) * self.batch_size, len(self.indices)
        if start // count == (end - 1) // count:  # as most batches are: within one epoch
            return self._epoch(start // count)[start % count : (end - 1) % count + 1 : world_size]
        places = torch.arange(start, end, world_size)
        epochs, within = places // count, places % count
        first, last = int(epochs[0]), int(epochs[-1])
        rows = torch.empty(len(within), dtype=torch.long)
        for epoch in range(first, last + 1):
            chosen = epochs == epoch
            rows[chosen] = self._epoch(epoch)[within[chosen]]
        return rows

    def epochs(self, step: int, rank: int = 0, world_size: int = 1) -> Tensor:
        """Return, for each index of `batch`, the epoch that it is read in."""
        places = torch.arange(step * self.batch_size + rank, (step + 1) * self.batch_size, world_size)
        return places // len(self.indices)

    def _epoch(self, epoch: int) -> Tensor:
        if epoch not in self._epochs:
            # Two are enough: a batch seldom spans more, and they are cheap to make again.
            self._epochs = {e: order for e, order in self._epochs.items() if e == epoch - 1}
            shuffled = _shuffled(len(self.indices), _ORDER_STREAM, epoch, self.seed % 2**64)
            self._epochs[epoch] = self.indices[shuffled]
        return self._epochs[epoch]
