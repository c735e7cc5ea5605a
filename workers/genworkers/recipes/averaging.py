"""Exponential moving averages of networks: what is published where the trained weights themselves swing."""

from __future__ import annotations

import itertools

import torch
from torch import nn


@torch.no_grad()
def follow(mean: nn.Module, live: nn.Module, decay: float, step: int) -> None:
    """Move the average towards the live network, buffers such as BatchNorm's statistics included.

    Early on it forgets faster than `decay`, so that it does not stand for the untrained start.
    """
    weight = 1 - min(decay, (1 + step) / (10 + step))
    for old, new in zip(
        itertools.chain(mean.parameters(), mean.buffers()),
        itertools.chain(live.parameters(), live.buffers()),
        strict=True,
    ):
        if old.is_floating_point():
            old.lerp_(new, weight)
        else:
            old.copy_(new)
