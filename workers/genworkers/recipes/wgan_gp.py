"""WGAN-GP (Gulrajani et al., 2017): a critic of the Wasserstein distance, held smooth by a penalty on its gradient.

The critic has no BatchNorm, because the penalty is on each picture by itself. It moves several
times, each on pictures of its own, before the generator moves once; a step is one such round.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from genworkers.recipes.adversarial import ConvolutionalConfig, ConvolutionalGan
from genworkers.recipes.averaging import follow
from genworkers.recipes.base import Batch, EvaluationContext, StepContext


class WganGpConfig(ConvolutionalConfig):
    """Sizes, optimizer, penalty and rounds. The defaults learn fast enough for a CPU."""

    learning_rate: float = Field(default=1e-3, gt=0, le=1, description="Adam's step size.")
    beta1: float = Field(default=0.0, ge=0, lt=1, description="Adam's memory of gradients.")
    beta2: float = Field(default=0.9, ge=0, lt=1, description="Adam's memory of squared gradients.")
    n_critic: int = Field(default=2, ge=1, le=100, description="Moves of the critic for one of the generator.")
    penalty: float = Field(default=10.0, ge=0, le=1000, description="Weight of the gradient penalty.")
    batch_size: int = Field(default=64, ge=2, le=65536, description="Pictures of one move; a step has n_critic moves.")


class WganGp(ConvolutionalGan[WganGpConfig]):
    """The networks of DCGAN, the critic without BatchNorm."""

    name = "wgan-gp"
    summary = "Wasserstein GAN with gradient penalty: steadier than dcgan, slower; sides must be even."
    Config = WganGpConfig
    norm = False

    @property
    def batch_size(self) -> int:
        """The pictures of one step: each move of the critic has its own."""
        return self.config.batch_size * self.config.n_critic

    def step(self, batch: Batch, ctx: StepContext) -> dict[str, Tensor]:
        """Move the critic n_critic times, each on a part of the batch, then the generator, then the average."""
        c, critic, generator = self.config, ctx.modules["discriminator"], ctx.modules["generator"]
        pictures = batch["x"]
        # Drawn for all rows at once, and parted with them: so several workers draw what one would.
        along = ctx.uniform("along", (len(pictures), 1, 1, 1)).to(pictures.device)
        drawn = (pictures, self.labels(batch), self.latent(pictures, ctx, "critic"), along)
        for real, labels, latent, between in zip(*(rows.chunk(c.n_critic) for rows in drawn), strict=True):
            with torch.no_grad():
                made = generator(latent, labels).to(real.dtype)
            distance = critic(real, labels).mean() - critic(made, labels).mean()
            penalty = self._penalty(critic, torch.lerp(made, real, between), labels)
            ctx.optimize("discriminator", c.penalty * penalty - distance)
        latent = self.latent(pictures, ctx).chunk(c.n_critic)[-1]
        g_loss = -critic(generator(latent, labels), labels).mean()
        ctx.optimize("generator", g_loss)
        follow(ctx.modules["ema"], generator, c.ema_decay, ctx.step)
        return {"distance": distance.detach(), "penalty": penalty.detach(), "g_loss": g_loss.detach()}

    @staticmethod
    def _penalty(critic: nn.Module, between: Tensor, labels: Tensor) -> Tensor:
        """Return how far the critic's slope is from 1, at these places between real and made pictures."""
        between = between.requires_grad_()
        (slope,) = torch.autograd.grad(critic(between, labels).sum(), between, create_graph=True)
        off: Tensor = (slope.flatten(1).norm(2, 1) - 1).square().mean()
        return off

    def evaluate(self, batch: Batch, ctx: EvaluationContext) -> dict[str, Tensor]:
        """Return the critic's distance between unseen pictures and those of the average.

        Below the distance of training it tells that the critic knows its pictures by heart.
        """
        real, labels = batch["x"], self.labels(batch)
        critic = ctx.modules["discriminator"]
        made = ctx.modules["ema"](self.latent(real, ctx), labels)
        return {"distance": critic(real, labels).mean() - critic(made, labels).mean()}
