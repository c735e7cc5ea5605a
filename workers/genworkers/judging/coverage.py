"""Which of the data's classes a model draws: what collapsed shows here, however real each single picture looks."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# A class that is drawn less than a tenth as often as it is in the data counts as forgotten.
FORGOTTEN = 0.1


class Coverage(NamedTuple):
    """The share of the data's classes that are drawn at all often, and the share of samples in the rarest one."""

    class_coverage: float
    smallest_class: float


def coverage(drawn: Tensor, real: Tensor, classes: int) -> Coverage:
    """Compare class numbers, as one and the same classifier reads them, of samples and of real items."""
    shares = torch.bincount(drawn, minlength=classes).double() / len(drawn)
    expected = torch.bincount(real, minlength=classes).double() / len(real)
    there = expected > 0
    kept = shares[there] >= FORGOTTEN * expected[there]
    return Coverage(float(kept.double().mean()), float(shares[there].min()))
