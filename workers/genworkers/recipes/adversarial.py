"""What the convolutional GANs have in common: their networks, what is published of them, and how it is drawn from."""

from __future__ import annotations

import copy
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn

from genworkers.recipes.base import TUNABLE, Conditions, DataFacts, EvaluationContext, RecipeConfig
from genworkers.recipes.convolutional import Discriminator, Generator, Stack, stack_of
from genworkers.recipes.fitting import picture_shape
from genworkers.recipes.picture import ClassConfig, ClassRecipe
from genworkers.recipes.randomness import normal_rows


class ConvolutionalConfig(ClassConfig):
    """Sizes of the networks, the memory of the average, and the optimizer of both players."""

    latent_dim: int = Field(default=100, ge=1, le=4096, description="Length of the noise that a picture is made of.")
    width_of_network: int = Field(
        default=64, ge=1, le=1024, description="Channels of the layer next to the picture; each further one has twice."
    )
    doublings: int | None = Field(
        default=None, ge=1, le=8, description="Layers that double the picture's sides. Left out: as many as it allows."
    )
    ema_decay: float = Field(
        default=0.995, ge=0, lt=1, description="Memory of the moving average of the generator that is published."
    )
    learning_rate: float = Field(default=2e-4, gt=0, le=1, description="Adam's step size.")
    beta1: float = Field(default=0.5, ge=0, lt=1, description="Adam's memory of gradients.")
    beta2: float = Field(default=0.999, ge=0, lt=1, description="Adam's memory of squared gradients.")


G = TypeVar("G", bound=ConvolutionalConfig)


class ConvolutionalGan(ClassRecipe[G]):
    """A stack of transposed convolutions against its mirror; the generator's moving average is published."""

    serve_modules = ("ema",)
    averages = MappingProxyType({"ema": "generator"})
    tunable = (*TUNABLE, "n_critic", "penalty")
    no_adapters = "the network that judges what they change is no part of a published version"
    privacy_obstacle = "two networks learn against each other, with an optimizer each"
    norm: ClassVar[bool]  # whether there is BatchNorm in the discriminator too

    @classmethod
    def fit_to(cls, config: RecipeConfig, data: DataFacts) -> RecipeConfig:
        """Take sizes and classes from the data; raises ValueError for pictures that no doublings make."""
        fitted: Any = super().fit_to(config, data)
        if data.shape is not None:
            stack_of(data.shape.height, data.shape.width, fitted.doublings)
        return fitted  # type: ignore[no-any-return]

    def build(self) -> nn.ModuleDict:
        """Return generator, discriminator, and the generator's moving average (always in evaluation mode)."""
        c, (channels, height, width) = self.config, picture_shape(self.config)
        stack: Stack = stack_of(height, width, c.doublings)
        live = Generator(stack, channels, c.width_of_network, c.latent_dim, self.class_count)
        critic = Discriminator(stack, channels, c.width_of_network, self.class_count, norm=self.norm)
        ema = copy.deepcopy(live).eval().requires_grad_(False)
        return nn.ModuleDict({"generator": live, "discriminator": critic, "ema": ema})

    def optimizers(self, modules: nn.ModuleDict) -> dict[str, torch.optim.Optimizer]:
        """Return one Adam for each player."""
        c = self.config
        return {
            name: torch.optim.Adam(modules[name].parameters(), lr=c.learning_rate, betas=(c.beta1, c.beta2), fused=True)
            for name in ("generator", "discriminator")
        }

    def latent(self, real: Tensor, ctx: EvaluationContext, stream: str = "latent") -> Tensor:
        """Return the noise of as many pictures as there are real ones."""
        return ctx.noise(stream, (len(real), self.config.latent_dim)).to(real.device)

    def sample(self, modules: nn.ModuleDict, seeds: Tensor, cond: Conditions) -> Tensor:
        """Return pictures of the averaged generator; it is in evaluation mode, so that rows do not touch."""
        device = next(modules["ema"].parameters()).device
        noise = normal_rows(seeds, (self.config.latent_dim,)).to(device)
        made: Tensor = modules["ema"](noise, self.wished_classes(seeds, cond).to(device))
        return made
