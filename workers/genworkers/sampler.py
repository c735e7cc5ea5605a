"""The one way items are drawn: batch jobs, serving and sample sheets all come through here.

Every forward pass has exactly `tile` rows, the last one filled up, because the bits of a
matrix product depend on its size. So an item is the same whatever it is drawn with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from genworkers.images import Payload
from genworkers.recipes.base import Recipe


class Sampler:
    """Draws from one model. Not for several threads at once."""

    def __init__(self, recipe: Recipe[Any], modules: nn.ModuleDict, tile: int) -> None:
        if tile < 1:
            raise ValueError(f"A tile has at least one row; this model says {tile}.")
        self.recipe = recipe
        self.modules = modules
        self.tile = tile

    @torch.inference_mode()
    def draw(self, seeds: Sequence[int], cond: Sequence[Mapping[str, Any] | None] | None = None) -> list[Payload]:
        """Return each seed's payload, in order: item i is a function of (weights, seeds[i], cond[i])."""
        payloads: list[Payload] = []
        for start in range(0, len(seeds), self.tile):
            chunk = list(seeds[start : start + self.tile])
            filler = self.tile - len(chunk)
            rows = torch.tensor(chunk + [0] * filler, dtype=torch.int64)
            conditions = None if cond is None else [*cond[start : start + self.tile], *([None] * filler)]
            out = self.recipe.sample(self.modules, rows, conditions)
            payloads += self.recipe.encode(out[: len(chunk)])
        return payloads
