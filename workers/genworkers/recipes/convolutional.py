"""The networks of DCGAN (Radford, Metz and Chintala, 2015) for pictures of any size that doublings make.

A generator leads noise to a small start of many channels and doubles it, by transposed
convolutions, to the picture; a discriminator is its mirror. With classes, the generator is told
one beside its noise, and the discriminator scores how well the picture fits it by projection
(Miyato and Koyama, 2018).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

LARGEST_START = 16  # pixels of a side; beyond, the first layer would hold most of the weights
SMALLEST_START = 4  # of the shorter side, where there are more than FEWEST doublings
FEWEST = 2
MOST_FOLD = 8  # channels at the start, in times of those at the picture
TOLD = 32  # numbers that a class is told by
LEAK = 0.2
SPREAD = 0.02  # standard deviation of fresh weights, as in the paper


class Stack(NamedTuple):
    """How a picture is made: a start of height x width, doubled so many times."""

    doublings: int
    height: int
    width: int

    def widths(self, width: int) -> list[int]:
        """Return the channels at the start and after each doubling but the last, which makes the picture."""
        return [width * min(2**number, MOST_FOLD) for number in reversed(range(self.doublings))]


def stack_of(height: int, width: int, doublings: int | None = None) -> Stack:
    """Return the stack that makes pictures of that size, as deep as the size allows where `doublings` says nothing.

    Raises ValueError when none does.
    """
    short, evenness = min(height, width), _halvings(math.gcd(height, width))
    wanted = max(FEWEST, int(math.log2(max(1, short / SMALLEST_START)))) if doublings is None else doublings
    taken = min(wanted, evenness) if doublings is None else wanted
    stack = Stack(taken, height >> taken, width >> taken)
    if 1 <= taken <= evenness and max(stack[1:]) <= LARGEST_START:
        return stack
    step = 2**wanted
    while doublings is None and max(height, width) / step > LARGEST_START:
        step *= 2
    fitting = [min(max(1, round(side / step)), LARGEST_START) * step for side in (height, width)]
    said = f"with params.doublings {doublings}" if doublings is not None else "of doublings"
    raise ValueError(
        f"Pictures of {height} rows and {width} columns cannot be made {said}: a start of at most {LARGEST_START} "
        f"rows and columns must become them. Possible would be {fitting[0]} rows and {fitting[1]} columns."
    )


def _halvings(size: int) -> int:
    """Return how often a size can be halved without a rest."""
    return (size & -size).bit_length() - 1


class Generator(nn.Module):
    """From noise (rows, latent) and class numbers to pictures in [-1, 1]."""

    def __init__(self, stack: Stack, channels: int, width: int, latent: int, classes: int) -> None:
        super().__init__()
        widths = stack.widths(width)
        told = TOLD if classes else 0
        self.classes = nn.Embedding(classes, told) if classes else None
        self.first = nn.Linear(latent + told, widths[0] * stack.height * stack.width, bias=False)
        self.start = nn.Unflatten(1, (widths[0], stack.height, stack.width))
        layers: list[nn.Module] = []
        for wide_in, wide_out in zip(widths, [*widths[1:], channels], strict=True):
            # What BatchNorm follows needs no bias.
            layers += [nn.BatchNorm2d(wide_in), nn.ReLU()]
            last = len(layers) == 3 * stack.doublings - 1
            layers += [nn.ConvTranspose2d(wide_in, wide_out, 4, stride=2, padding=1, bias=last)]
        self.layers = nn.Sequential(*layers, nn.Tanh())
        self.apply(_as_in_the_paper)

    def forward(self, noise: Tensor, classes: Tensor) -> Tensor:
        """Return one picture a row."""
        if self.classes is not None:
            noise = torch.cat([noise, self.classes(classes)], 1)
        made: Tensor = self.layers(self.start(self.first(noise)))
        return made


class Discriminator(nn.Module):
    """From pictures and class numbers to one score a row; with `norm`, BatchNorm in all layers but the first."""

    def __init__(self, stack: Stack, channels: int, width: int, classes: int, *, norm: bool) -> None:
        super().__init__()
        widths = stack.widths(width)[::-1]
        layers: list[nn.Module] = []
        for number, (wide_in, wide_out) in enumerate(zip([channels, *widths], widths, strict=False)):
            normed = norm and number > 0
            layers += [nn.Conv2d(wide_in, wide_out, 4, stride=2, padding=1, bias=not normed)]
            layers += [nn.BatchNorm2d(wide_out)] if normed else []
            layers += [nn.LeakyReLU(LEAK)]
        self.layers = nn.Sequential(*layers)
        self.score = nn.Linear(widths[-1] * stack.height * stack.width, 1)
        self.classes = nn.Embedding(classes, widths[-1]) if classes else None
        self.apply(_as_in_the_paper)

    def forward(self, pictures: Tensor, classes: Tensor) -> Tensor:
        """Return (rows,) scores."""
        seen = self.layers(pictures)
        scores: Tensor = self.score(seen.flatten(1)).squeeze(1)
        if self.classes is not None:
            scores = scores + (self.classes(classes) * seen.mean((2, 3))).sum(1)
        return scores


def _as_in_the_paper(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0, SPREAD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1, SPREAD)
        nn.init.zeros_(module.bias)
