"""What the nearest neighbours of a set tell: precision and recall, and whether the training data was copied.

Rows are float64 tensors (rows, dims). Distances are made block by block: memory grows with one set, not with both.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from genworkers.judging.distances import ROWS_AT_ONCE

K = 5
# A sample this near to a training item is as near as one in a hundred real ones that were never learned from.
COPY_QUANTILE = 0.01


class PrecisionRecall(NamedTuple):
    """The share of samples that look real, and the share of what is real that samples look like."""

    precision: float
    recall: float


def precision_recall(real: Tensor, samples: Tensor, k: int = K) -> PrecisionRecall:
    """Return improved precision and recall (Kynkäänniemi et al., 2019).

    A set's manifold is the union of balls around its rows, each reaching to that row's k-th neighbour in the set.
    """
    return PrecisionRecall(_inside(samples, real, k), _inside(real, samples, k))


def nearest(rows: Tensor, among: Tensor) -> Tensor:
    """Return each row's Euclidean distance to the nearest of `among`."""
    return torch.cat([_squared(some, among).min(1).values for some in torch.split(rows, ROWS_AT_ONCE)]).sqrt()


def copy_threshold(held_out_distances: Tensor) -> float:
    """Return how near to the training items a sample must be to count as a near copy of one.

    Nearer than all but a hundredth of the held-out items are, which nobody can have copied (after the test of Meehan
    et al., 2020, that compares the same two sets of distances).
    """
    return float(torch.quantile(held_out_distances, COPY_QUANTILE))


def _inside(rows: Tensor, manifold: Tensor, k: int) -> float:
    """Return the share of rows in at least one ball of the manifold."""
    radii = _radii(manifold, k)
    found = [(_squared(some, manifold) <= radii).any(1) for some in torch.split(rows, ROWS_AT_ONCE)]
    return float(torch.cat(found).double().mean())


def _radii(rows: Tensor, k: int) -> Tensor:
    """Return each row's squared distance to its k-th neighbour; the row itself, at distance 0, is the first."""
    reach = min(k + 1, len(rows))
    return torch.cat([_squared(some, rows).kthvalue(reach, 1).values for some in torch.split(rows, ROWS_AT_ONCE)])


def _squared(some: Tensor, others: Tensor) -> Tensor:
    products = some @ others.T
    return (some.square().sum(1)[:, None] + others.square().sum(1) - 2 * products).clamp(min=0)
