"""A dense generative adversarial network (Goodfellow et al., 2014) with the hyper-parameters of DCGAN.

What is published is not the generator that was trained but an exponential moving average of
it, which on the digits lowers the Fréchet distance severalfold (Yazici et al., 2019).
"""

from __future__ import annotations

import copy
import itertools
import math
from types import MappingProxyType
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from genworkers.recipes.averaging import follow
from genworkers.recipes.base import Batch, Conditions, EvaluationContext, StepContext
from genworkers.recipes.fitting import picture_shape
from genworkers.recipes.picture import PictureConfig, PictureRecipe
from genworkers.recipes.randomness import normal_rows

Width = Annotated[int, Field(ge=1, le=8192)]


class GanConfig(PictureConfig):
    """Widths, optimizer and batch. The defaults train 8x8 digits in half a minute on one core."""

    latent_dim: int = Field(default=100, ge=1, le=4096, description="Length of the noise that a picture is made of.")
    generator_widths: tuple[Width, ...] = Field(
        default=(256, 512), min_length=1, max_length=8, description="Hidden layers of the generator."
    )
    discriminator_widths: tuple[Width, ...] = Field(
        default=(256,), min_length=1, max_length=8, description="Hidden layers of the discriminator."
    )
    dropout: float = Field(default=0.3, ge=0, lt=1, description="Dropout of the discriminator.")
    leak: float = Field(default=0.2, ge=0, lt=1, description="Slope of LeakyReLU below zero.")
    learning_rate: float = Field(default=2e-4, gt=0, le=1, description="Adam's step size.")
    beta1: float = Field(default=0.5, ge=0, lt=1, description="Adam's memory of gradients.")
    beta2: float = Field(default=0.999, ge=0, lt=1, description="Adam's memory of squared gradients.")
    ema_decay: float = Field(
        default=0.998, ge=0, lt=1, description="Memory of the moving average of the generator that is published."
    )
    batch_size: int = Field(default=64, ge=2, le=65536, description="Pictures of one training step.")


class Gan(PictureRecipe[GanConfig]):
    """Dense generator with BatchNorm against a dense discriminator with dropout."""

    name = "gan"
    summary = "Dense GAN for small pictures: trains in half a minute on one CPU core."
    Config = GanConfig
    serve_modules = ("ema",)
    averages = MappingProxyType({"ema": "generator"})
    no_adapters = "the network that judges what they change is no part of a published version"
    privacy_obstacle = "two networks learn against each other, with an optimizer each"

    def build(self) -> nn.ModuleDict:
        """Return generator, discriminator, and the generator's moving average (always in evaluation mode)."""
        c, shape = self.config, picture_shape(self.config)
        pixels = math.prod(shape)
        generator: list[nn.Module] = []
        for wide_in, wide_out in itertools.pairwise((c.latent_dim, *c.generator_widths)):
            generator += [nn.Linear(wide_in, wide_out), nn.BatchNorm1d(wide_out), nn.LeakyReLU(c.leak)]
        generator += [nn.Linear(c.generator_widths[-1], pixels), nn.Tanh(), nn.Unflatten(1, shape)]
        critic: list[nn.Module] = [nn.Flatten()]
        for wide_in, wide_out in itertools.pairwise((pixels, *c.discriminator_widths)):
            critic += [nn.Linear(wide_in, wide_out), nn.LeakyReLU(c.leak), nn.Dropout(c.dropout)]
        critic += [nn.Linear(c.discriminator_widths[-1], 1)]
        live = nn.Sequential(*generator)
        ema = copy.deepcopy(live).eval().requires_grad_(False)
        return nn.ModuleDict({"generator": live, "discriminator": nn.Sequential(*critic), "ema": ema})

    def optimizers(self, modules: nn.ModuleDict) -> dict[str, torch.optim.Optimizer]:
        """Return one Adam for each player."""
        c = self.config
        return {
            name: torch.optim.Adam(modules[name].parameters(), lr=c.learning_rate, betas=(c.beta1, c.beta2), fused=True)
            for name in ("generator", "discriminator")
        }

    def step(self, batch: Batch, ctx: StepContext) -> dict[str, Tensor]:
        """Move the discriminator on real and made pictures, then the generator against it, then the average."""
        real = batch["x"]
        critic = ctx.modules["discriminator"]
        made = ctx.modules["generator"](ctx.noise("latent", (len(real), self.config.latent_dim)))

        scores = critic(torch.cat([real, made.detach()]))
        truth = torch.zeros_like(scores)
        truth[: len(real)] = 1
        d_loss = 2 * functional.binary_cross_entropy_with_logits(scores, truth)
        ctx.optimize("discriminator", d_loss)

        fooled = critic(made)
        g_loss = functional.binary_cross_entropy_with_logits(fooled, torch.ones_like(fooled))
        ctx.optimize("generator", g_loss)
        follow(ctx.modules["ema"], ctx.modules["generator"], self.config.ema_decay, ctx.step)
        return {"d_loss": d_loss.detach(), "g_loss": g_loss.detach()}

    def evaluate(self, batch: Batch, ctx: EvaluationContext) -> dict[str, Tensor]:
        """Return the discriminator's loss on unseen pictures and on those of the average.

        Above the loss of training it tells that the discriminator knows its pictures by heart.
        """
        real = batch["x"]
        made = ctx.modules["ema"](ctx.noise("latent", (len(real), self.config.latent_dim)))
        critic = ctx.modules["discriminator"]
        unseen, fooled = critic(real), critic(made)
        loss = functional.binary_cross_entropy_with_logits
        return {"d_loss": loss(unseen, torch.ones_like(unseen)) + loss(fooled, torch.zeros_like(fooled))}

    def sample(self, modules: nn.ModuleDict, seeds: Tensor, cond: Conditions) -> Tensor:
        """Return pictures of the averaged generator; it is in evaluation mode, so that rows do not touch."""
        weights = next(modules["ema"].parameters())
        noise = normal_rows(seeds, (self.config.latent_dim,)).to(weights.device)
        made: Tensor = modules["ema"](noise)
        return made
