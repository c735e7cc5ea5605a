"""Uniform noise: the smallest member of the recipe seam. For trying, testing and measuring; nothing is learned."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from genworkers.recipes.base import Conditions, Recipe, RecipeConfig
from genworkers.recipes.randomness import byte_rows


class NoiseConfig(RecipeConfig):
    """The size of a picture."""

    height: int = Field(default=8, ge=1, le=4096, description="Rows of a picture.")
    width: int = Field(default=8, ge=1, le=4096, description="Columns of a picture.")
    channels: int = Field(default=1, description="1 for grey, 3 for colour.", json_schema_extra={"enum": [1, 3]})


class Noise(Recipe[NoiseConfig]):
    """Every pixel is uniform and independent; the built-in model `noise@1` is this with its defaults."""

    name = "noise"
    summary = "Uniform noise; needs no training. For trying, testing and measuring."
    Config = NoiseConfig
    trainable = False

    def sample(self, modules: nn.ModuleDict, seeds: Tensor, cond: Conditions) -> Tensor:
        """Return pictures whose 256 levels are equally likely."""
        c = self.config
        levels = byte_rows(seeds, (c.channels, c.height, c.width))
        return levels.float() / 127.5 - 1
