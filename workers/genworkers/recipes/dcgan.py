"""DCGAN (Radford, Metz and Chintala, 2015): transposed convolutions against strided ones, BatchNorm in both.

Weights start as in the paper, and so do Adam's numbers. What is published is an exponential
moving average of the generator (Yazici et al., 2019).
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from genworkers.recipes.adversarial import ConvolutionalConfig, ConvolutionalGan
from genworkers.recipes.averaging import follow
from genworkers.recipes.base import Batch, EvaluationContext, StepContext


class DcganConfig(ConvolutionalConfig):
    """Sizes, optimizer and batch. The defaults are the paper's, of a width that a CPU can train."""

    batch_size: int = Field(default=64, ge=2, le=65536, description="Pictures of one training step.")


class Dcgan(ConvolutionalGan[DcganConfig]):
    """Both players learn from one batch a step."""

    name = "dcgan"
    summary = "DCGAN: the convolutional GAN, by class where the data has classes; the pictures' sides must be even."
    Config = DcganConfig
    norm = True

    def step(self, batch: Batch, ctx: StepContext) -> dict[str, Tensor]:
        """Move the discriminator on real and made pictures, then the generator against it, then the average."""
        real, labels = batch["x"], self.labels(batch)
        critic, loss = ctx.modules["discriminator"], functional.binary_cross_entropy_with_logits
        made = ctx.modules["generator"](self.latent(real, ctx), labels)

        # Apart, so that each is normalised by its own statistics.
        seen, unmasked = critic(real, labels), critic(made.detach(), labels)
        d_loss = loss(seen, torch.ones_like(seen)) + loss(unmasked, torch.zeros_like(unmasked))
        ctx.optimize("discriminator", d_loss)

        fooled = critic(made, labels)
        g_loss = loss(fooled, torch.ones_like(fooled))
        ctx.optimize("generator", g_loss)
        follow(ctx.modules["ema"], ctx.modules["generator"], self.config.ema_decay, ctx.step)
        return {"d_loss": d_loss.detach(), "g_loss": g_loss.detach()}

    def evaluate(self, batch: Batch, ctx: EvaluationContext) -> dict[str, Tensor]:
        """Return the discriminator's loss on unseen pictures and on those of the average.

        Above the loss of training it tells that the discriminator knows its pictures by heart.
        """
        real, labels = batch["x"], self.labels(batch)
        critic, loss = ctx.modules["discriminator"], functional.binary_cross_entropy_with_logits
        unseen = critic(real, labels)
        fooled = critic(ctx.modules["ema"](self.latent(real, ctx), labels), labels)
        return {"d_loss": loss(unseen, torch.ones_like(unseen)) + loss(fooled, torch.zeros_like(fooled))}
