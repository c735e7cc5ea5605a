"""What a bound in bits per dim is held against: models of one pixel at a time, and none at all."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

INDEPENDENT, UNIFORM = "independent_pixels", "uniform"

MOST_COUNTS = 1 << 24

ABOUT = {
    INDEPENDENT: "each pixel alone, by how often each of its levels occurs in the training part",
    UNIFORM: "every level of every pixel equally likely",
}


def levels_of(pictures: Tensor, levels: int) -> Tensor:
    """Return pictures in [-1, 1] as whole numbers below `levels`, (rows, pixels)."""
    return ((pictures.flatten(1) + 1) / 2 * (levels - 1)).round().long().clamp(0, levels - 1)


def bits_anchors(train: Iterable[Tensor], unseen: Iterable[Tensor], levels: int) -> dict[str, float]:
    """Return the bits per dim of `unseen` pictures under both anchors; every level is counted once more than seen.

    Both come in batches. Of pictures too large for a table of all their levels there is the uniform anchor alone.
    """
    bits, summed, rows = None, 0.0, 0
    for batch in train:
        seen = levels_of(batch, levels)
        if seen.shape[1] * levels > MOST_COUNTS:
            break
        if bits is None:
            bits = torch.ones((seen.shape[1], levels), dtype=torch.float64)
        bits.scatter_add_(1, seen.T, torch.ones(seen.T.shape, dtype=torch.float64))
    if bits is None:
        return {UNIFORM: math.log2(levels)}
    bits = -(bits / bits.sum(1, keepdim=True)).log2()
    for batch in unseen:
        summed += float(bits.gather(1, levels_of(batch, levels).T).mean(0).sum())
        rows += len(batch)
    return {INDEPENDENT: summed / rows, UNIFORM: math.log2(levels)}
