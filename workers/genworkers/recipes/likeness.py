"""How like two pictures are: peak signal-to-noise ratio, and structural similarity (SSIM, Wang et al., 2004)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

WINDOW, DEVIATION = 11, 1.5
_STEADY = (0.01**2, 0.03**2)  # the paper's constants, for values from 0 to 1
LEAST_ERROR = 1e-10  # so that equal pictures have 100 dB, and no infinity


def psnr(one: Tensor, other: Tensor) -> Tensor:
    """Return, a row each, the decibels between two batches of pictures in [0, 1]."""
    error = (one - other).square().flatten(1).mean(1)
    return -10 * error.clamp(min=LEAST_ERROR).log10()


def ssim(one: Tensor, other: Tensor) -> Tensor:
    """Return, a row each, the mean structural similarity of two batches of pictures in [0, 1], at most 1.

    Means are weighted by a Gaussian, of 11 x 11 pixels where the picture has so many; windows lie within it.
    """
    rows, _, height, width = one.shape
    size = min(WINDOW, height, width)
    size -= 1 - size % 2
    # In double precision: what is left of two nearly equal squares is small.
    one, other = one.double(), other.double()
    kernel = _gaussian(size).to(one.device)

    def local(values: Tensor) -> Tensor:
        flat = values.reshape(-1, 1, height, width)
        across = functional.conv2d(flat, kernel[None, None, None, :])
        return functional.conv2d(across, kernel[None, None, :, None])

    mean_one, mean_other = local(one), local(other)
    spread_one = local(one.square()) - mean_one.square()
    spread_other = local(other.square()) - mean_other.square()
    together = local(one * other) - mean_one * mean_other
    light, contrast = _STEADY
    alike = (2 * mean_one * mean_other + light) * (2 * together + contrast)
    whole = (mean_one.square() + mean_other.square() + light) * (spread_one + spread_other + contrast)
    return (alike / whole).reshape(rows, -1).mean(1)


def _gaussian(size: int) -> Tensor:
    places = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    weights = torch.exp(-places.square() / (2 * DEVIATION**2))
    return weights / weights.sum()
