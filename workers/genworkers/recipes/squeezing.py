"""Convolutions from pictures down to a small grid of vectors, and back; of any size, and rows do not touch."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

LARGEST_GRID = 8  # of the longer side, where nothing is said
_GROUPS = 8
_BLOCKS = 2

Side = tuple[int, int]


def sides(height: int, width: int, halvings: int | None = None) -> list[Side]:
    """Return height and width from the picture down to the grid, each half of the one before, rounded up."""
    found = [(height, width)]
    while len(found) - 1 < halvings if halvings is not None else len(found) < 2 or max(found[-1]) > LARGEST_GRID:
        found.append(((found[-1][0] + 1) // 2, (found[-1][1] + 1) // 2))
    return found


class Encoder(nn.Module):
    """From pictures to (rows, places, size) vectors, row by row of the grid."""

    def __init__(self, channels: int, width: int, halvings: int, size: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, width // 2, 3, padding=1)]
        for number in range(halvings):
            wide = width // 2 if number == 0 else width
            layers += [nn.SiLU(), nn.Conv2d(wide, width, 3, stride=2, padding=1)]
        layers += [_Residual(width) for _ in range(_BLOCKS)]
        layers += [nn.GroupNorm(_GROUPS, width), nn.SiLU(), nn.Conv2d(width, size, 1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the vectors."""
        seen: Tensor = self.layers(x)
        return seen.flatten(2).transpose(1, 2)


class Decoder(nn.Module):
    """From vectors back to pictures; `grids` are the sides from the picture down."""

    def __init__(self, channels: int, width: int, grids: Sequence[Side], size: int) -> None:
        super().__init__()
        self.grids = list(reversed(grids))
        self.first = nn.Sequential(nn.Conv2d(size, width, 3, padding=1), *[_Residual(width) for _ in range(_BLOCKS)])
        growing = len(grids) - 1
        self.grow = nn.ModuleList(
            nn.Conv2d(width, width // 2 if number == growing - 1 else width, 3, padding=1) for number in range(growing)
        )
        last = width // 2
        self.last = nn.Sequential(nn.GroupNorm(_GROUPS, last), nn.SiLU(), nn.Conv2d(last, channels, 3, padding=1))

    def forward(self, vectors: Tensor) -> Tensor:
        """Return one picture a row."""
        rows, _, size = vectors.shape
        h = self.first(vectors.transpose(1, 2).reshape(rows, size, *self.grids[0]))
        for grid, layer in zip(self.grids[1:], self.grow, strict=True):
            h = layer(functional.interpolate(functional.silu(h), size=grid, mode="nearest"))
        made: Tensor = self.last(h)
        return made


class _Residual(nn.Module):
    """A convolution and a smaller one, and a way past them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(_GROUPS, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the input with what was found added."""
        out: Tensor = x + self.layers(x)
        return out
