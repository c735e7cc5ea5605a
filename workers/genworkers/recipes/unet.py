"""A small U-Net (Ronneberger et al., 2015) that is told a time and a class; GroupNorm, so that rows do not touch."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

GROUPS = 8


class UNet(nn.Module):
    """From pictures, times in [0, 1] and class numbers to pictures of the same size."""

    def __init__(self, channels: int, width: int, levels: int, classes: int) -> None:
        super().__init__()
        told = 4 * width
        self.frequencies = width
        self.time = nn.Sequential(nn.Linear(width, told), nn.SiLU(), nn.Linear(told, told))
        self.classes = nn.Embedding(classes, told)
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        widths = [width * min(level + 1, 4) for level in range(levels)]
        self.down, self.shrink = nn.ModuleList(), nn.ModuleList()
        before = width
        for level, wide in enumerate(widths):
            shrink = nn.Conv2d(wide, wide, 3, stride=2, padding=1) if level < levels - 1 else nn.Identity()
            self.down.append(_Block(before, wide, told))
            self.shrink.append(shrink)
            before = wide
        self.middle = nn.ModuleList([_Block(before, before, told), _Attention(before), _Block(before, before, told)])
        self.up = nn.ModuleList()
        for wide in reversed(widths):
            self.up.append(_Block(before + wide, wide, told))
            before = wide
        self.last = nn.Sequential(nn.GroupNorm(GROUPS, before), nn.SiLU(), nn.Conv2d(before, channels, 3, padding=1))
        nn.init.zeros_(self.last[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.last[-1].bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, times: Tensor, classes: Tensor) -> Tensor:
        """Return one picture a row."""
        told = functional.silu(self.time(_waves(times, self.frequencies)) + self.classes(classes))
        h = self.first(x)
        kept = []
        for block, shrink in zip(self.down, self.shrink, strict=True):
            h = block(h, told)
            kept.append(h)
            h = shrink(h)
        first, attention, second = self.middle
        h = second(attention(first(h, told)), told)
        for block in self.up:
            beside = kept.pop()
            if h.shape[-2:] != beside.shape[-2:]:
                h = functional.interpolate(h, size=beside.shape[-2:], mode="nearest")
            h = block(torch.cat([h, beside], 1), told)
        out: Tensor = self.last(h)
        return out


class _Block(nn.Module):
    """Two convolutions around what is told, and a way past them."""

    def __init__(self, wide_in: int, wide_out: int, told: int) -> None:
        super().__init__()
        self.one = nn.Sequential(nn.GroupNorm(GROUPS, wide_in), nn.SiLU(), nn.Conv2d(wide_in, wide_out, 3, padding=1))
        self.told = nn.Linear(told, 2 * wide_out)
        self.norm = nn.GroupNorm(GROUPS, wide_out)
        self.two = nn.Conv2d(wide_out, wide_out, 3, padding=1)
        self.past = nn.Conv2d(wide_in, wide_out, 1) if wide_in != wide_out else nn.Identity()

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """Return the block's output."""
        scale, shift = self.told(told)[:, :, None, None].chunk(2, 1)
        h = self.norm(self.one(x)) * (1 + scale) + shift
        out: Tensor = self.past(x) + self.two(functional.silu(h))
        return out


class _Attention(nn.Module):
    """Every place looks at every other."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, wide)
        self.look = nn.Conv2d(wide, 3 * wide, 1)
        self.say = nn.Conv2d(wide, wide, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the input with what was seen added."""
        rows, wide, height, width = x.shape
        query, key, value = self.look(self.norm(x)).reshape(rows, 3, wide, height * width).transpose(2, 3).unbind(1)
        seen = functional.scaled_dot_product_attention(query, key, value)
        out: Tensor = x + self.say(seen.transpose(1, 2).reshape(rows, wide, height, width))
        return out


def _waves(times: Tensor, size: int) -> Tensor:
    """Return sines and cosines of times in [0, 1], from slow to fast."""
    rates = torch.exp(torch.linspace(0, math.log(1000), size // 2, device=times.device))
    angles = times[:, None] * rates[None]
    return torch.cat([angles.sin(), angles.cos()], 1)
