"""Distances between two sets of features: Fréchet (Heusel et al., 2017) and kernel (Binkowski et al., 2018).

Features come as float64 tensors (rows, dims); both sets in the same space. A distance depends on the space and on the
number of rows, so that it means something only beside another one of the same space.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

ROWS_AT_ONCE = 1024  # of the larger matrices, so that memory is bounded by it and not by the product of both sets


def frechet(one: Tensor, other: Tensor) -> float:
    """Return the squared Fréchet distance of the Gaussians with both sets' means and covariances; 0 when equal.

    The trace of the root of the product of both covariances A and B is taken from the eigenvalues of the symmetric
    A^(1/2) B A^(1/2), which has the same ones and needs no root of a matrix that is not symmetric.
    """
    a, b = torch.cov(one.T), torch.cov(other.T)
    values, vectors = torch.linalg.eigh(a)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    shared = torch.linalg.eigvalsh(root @ b @ root).clamp(min=0).sqrt().sum()
    apart = (one.mean(0) - other.mean(0)).square().sum()
    # Of equal sets rounding may leave a hair below nothing.
    return max(0.0, float(apart + a.trace() + b.trace() - 2 * shared))


def kernel(one: Tensor, other: Tensor) -> float:
    """Return the unbiased squared maximum mean discrepancy with the kernel (x . y / dims + 1)^3.

    Over all pairs of rows at once, not a mean over random subsets. Of two sets of one distribution it is 0 on average,
    and so at times below 0.
    """
    return _within(one) + _within(other) - 2 * _sum(one, other) / (len(one) * len(other))


def _within(rows: Tensor) -> float:
    own = float(_cubic(rows.square().sum(1), rows.shape[1]).sum())
    return (_sum(rows, rows) - own) / (len(rows) * (len(rows) - 1))


def _sum(one: Tensor, other: Tensor) -> float:
    return math.fsum(float(_cubic(rows @ other.T, one.shape[1]).sum()) for rows in torch.split(one, ROWS_AT_ONCE))


def _cubic(products: Tensor, dims: int) -> Tensor:
    return (products / dims + 1).pow(3)
