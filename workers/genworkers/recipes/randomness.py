"""Noise by row: a function of that row's whole 63-bit seed, wherever the row stands.

torch's CPU generator keeps only the low 32 bits of a seed, which in a batch of a million
items makes some hundred pairs of equal pictures; Philox takes the seed as its key.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def _row(seed: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=(stream << 64) | seed))


def normal_rows(seeds: Tensor, shape: Sequence[int], stream: int = 0) -> Tensor:
    """Return float32 normal noise of (len(seeds), *shape). `stream` separates independent draws of one row."""
    size = math.prod(shape)
    rows = [_row(int(s), stream).standard_normal(size, dtype=np.float32) for s in seeds.tolist()]
    return torch.from_numpy(np.stack(rows)).reshape(len(rows), *shape)


def uniform_rows(seeds: Tensor, shape: Sequence[int], stream: int = 0) -> Tensor:
    """Return float64 noise of (len(seeds), *shape), uniform in [0, 1)."""
    size = math.prod(shape)
    rows = [_row(int(s), stream).random(size) for s in seeds.tolist()]
    return torch.from_numpy(np.stack(rows)).reshape(len(rows), *shape)


def byte_rows(seeds: Tensor, shape: Sequence[int], stream: int = 0) -> Tensor:
    """Return uniform uint8 noise of (len(seeds), *shape)."""
    size = math.prod(shape)
    rows = [np.frombuffer(_row(int(s), stream).bytes(size), dtype=np.uint8) for s in seeds.tolist()]
    return torch.from_numpy(np.stack(rows)).reshape(len(rows), *shape)
