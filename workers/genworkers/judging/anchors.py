"""What a number is held against: real pictures that nobody learned from, and the best there is without learning.

A distance alone says nothing; between these two it says how much of the way from the baseline to the data a model went.
"""

from __future__ import annotations

import torch
from torch import Tensor

HELD_OUT = "held_out"
GAUSSIAN = "gaussian"

ABOUT = {
    HELD_OUT: "real pictures of the validation and test parts, compared as if a model had drawn them",
    GAUSSIAN: "pictures from the Gaussian with the mean and the full covariance of the training pixels",
}


def gaussian(pictures: Tensor, count: int, seed: int) -> Tensor:
    """Draw `count` pictures from the Gaussian with these pictures' mean and covariance, clipped to [-1, 1].

    A normal mixture of the centred rows has exactly that covariance: no matrix of pixels by pixels is ever made.
    """
    rows = pictures.flatten(1).double()
    mean = rows.mean(0)
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn((count, len(rows)), generator=generator, dtype=torch.float64)
    drawn: Tensor = mean + weights @ (rows - mean) / (len(rows) - 1) ** 0.5
    return drawn.clamp(-1, 1).float().reshape(count, *pictures.shape[1:])
