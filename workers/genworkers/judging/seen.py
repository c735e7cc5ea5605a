"""Pictures as the judge sees them: what a PNG of them holds, and never larger than 32 pixels a side.

Real pictures and drawn ones go through the same eye, so that a difference in their levels is none of the file format's.
Smaller pictures keep the memory and the time of a judgement within bounds, whatever the size of the data.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from genworkers.data.dataset import Dataset
from genworkers.images import Payload, pictures

LARGEST_SIDE = 32
ROWS_AT_ONCE = 256


def of_payloads(payloads: Sequence[Payload], *, whole: bool = False) -> Tensor:
    """Return pictures of uint8 height x width x channels as (rows, channels, height, width) in [-1, 1], made small.

    With `whole` they keep their size.
    """
    rows = torch.from_numpy(np.stack(payloads)).permute(0, 3, 1, 2).float().div(127.5).sub(1)
    tallest = max(rows.shape[-2:])
    if whole or tallest <= LARGEST_SIDE:
        return rows.contiguous()
    size = [max(1, round(side * LARGEST_SIDE / tallest)) for side in rows.shape[-2:]]
    return functional.interpolate(rows, size=size, mode="area")


def of_dataset(dataset: Dataset, indices: Tensor) -> Tensor:
    """Return those items of the data, likewise."""
    return torch.cat([of_payloads(pictures(dataset.rows(some)["x"])) for some in torch.split(indices, ROWS_AT_ONCE)])
