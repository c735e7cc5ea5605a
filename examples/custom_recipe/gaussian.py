"""A recipe of one's own: one Gaussian over all pixels, fitted by gradient descent on its likelihood.

    genctl recipes check examples/custom_recipe/gaussian.py

All that a family must say is here: its parameters, its networks, one step, one sample.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor, nn

from genworkers.recipes.base import (
    Batch,
    Conditions,
    DataFacts,
    EvaluationContext,
    Recipe,
    RecipeConfig,
    StepContext,
)
from genworkers.recipes.fitting import Side, picture_shape, sized
from genworkers.recipes.randomness import normal_rows


class GaussianConfig(RecipeConfig):
    """The parameters: each has a default and says what it means."""

    blur: float = Field(default=0.2, gt=0, le=1, description="Noise on the data; some pixels of it never change.")
    learning_rate: float = Field(default=2e-2, gt=0, le=1, description="Adam's step size.")
    batch_size: int = Field(default=64, ge=2, le=65536, description="Pictures of one training step.")
    height: Side = Field(default=None, description="Taken from the data.")
    width: Side = Field(default=None, description="Taken from the data.")
    channels: int | None = Field(default=None, ge=1, le=4, description="Taken from the data.")


class Whitening(nn.Module):
    """From pixels to independent normal numbers: a mean, and a triangular matrix."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(pixels))
        self.below = nn.Parameter(torch.zeros(pixels, pixels))
        self.log_diagonal = nn.Parameter(torch.zeros(pixels))

    def matrix(self) -> Tensor:
        """Return the triangular matrix; its diagonal is positive, so that it has an inverse."""
        return self.below.tril(-1) + torch.diag(self.log_diagonal.exp())


class Gaussian(Recipe[GaussianConfig]):
    """The best that can be said of pictures with a mean and a covariance: a baseline for what learns more."""

    name = "gaussian"
    summary = "One Gaussian over all pixels: a recipe of one's own, as an example and as a baseline."
    Config = GaussianConfig
    serve_modules = ("whitening",)

    @classmethod
    def fit_to(cls, config: RecipeConfig, data: DataFacts) -> RecipeConfig:
        """Take the picture's size from the data."""
        return sized(config, data)

    def build(self) -> nn.ModuleDict:
        """Return the one module there is."""
        return nn.ModuleDict({"whitening": Whitening(math.prod(picture_shape(self.config)))})

    def optimizers(self, modules: nn.ModuleDict) -> dict[str, torch.optim.Optimizer]:
        """Return one Adam."""
        return {"all": torch.optim.Adam(modules.parameters(), lr=self.config.learning_rate)}

    def step(self, batch: Batch, ctx: StepContext) -> dict[str, Tensor]:
        """Raise the likelihood of the pictures."""
        loss = self._nats(batch["x"], ctx)
        ctx.optimize("all", loss)
        return {"nats_per_dim": loss.detach()}

    def evaluate(self, batch: Batch, ctx: EvaluationContext) -> dict[str, Tensor]:
        """Return what unseen pictures cost."""
        return {"nats_per_dim": self._nats(batch["x"], ctx)}

    def _nats(self, pictures: Tensor, ctx: EvaluationContext) -> Tensor:
        whitening = ctx.modules["whitening"]
        # The engine's noise, never torch's own: it is the same again when a run goes on from a checkpoint.
        pixels = pictures.flatten(1) + self.config.blur * ctx.noise("blur", pictures.flatten(1).shape)
        normal = (pixels - whitening.mean) @ whitening.matrix().T
        density = -0.5 * (normal.square() + math.log(2 * math.pi)).sum(1) + whitening.log_diagonal.sum()
        return -density.mean() / pixels.shape[1]

    def sample(self, modules: nn.ModuleDict, seeds: Tensor, cond: Conditions) -> Tensor:
        """Return pictures: each row's noise, from its seed and nothing else, led back to pixels."""
        whitening = modules["whitening"]
        noise = normal_rows(seeds, (len(whitening.mean),)).to(whitening.mean.device)
        back = torch.linalg.solve_triangular(whitening.matrix(), noise.T, upper=False).T
        return (whitening.mean + back).clamp(-1, 1).unflatten(1, picture_shape(self.config))
