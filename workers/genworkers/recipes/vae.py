"""A variational autoencoder (Kingma and Welling, 2014) with categorical pixels, so that its bound is in bits per dim.

Each pixel is one of a few levels of brightness, and the decoder gives each level its own
probability: the evidence bound is exact on data that has no more levels than that.
"""

from __future__ import annotations

import copy
import itertools
import math
from types import MappingProxyType
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from genworkers.recipes.averaging import follow
from genworkers.recipes.base import TUNABLE, Batch, Conditions, EvaluationContext, StepContext
from genworkers.recipes.fitting import picture_shape
from genworkers.recipes.picture import PictureConfig, PictureRecipe
from genworkers.recipes.randomness import normal_rows, uniform_rows

Width = Annotated[int, Field(ge=1, le=8192)]

# Independent draws of one row.
_PIXEL_STREAM = 1


class VaeConfig(PictureConfig):
    """Widths, levels and optimizer. The defaults train 8x8 digits in a quarter of a minute on one core."""

    latent_dim: int = Field(default=16, ge=1, le=4096, description="Numbers that a picture is described by.")
    widths: tuple[Width, ...] = Field(
        default=(512, 256), min_length=1, max_length=8, description="Hidden layers of the encoder; the decoder mirrors."
    )
    levels: int = Field(
        default=17, ge=2, le=256, description="Levels of brightness a pixel may have; the digits have 17."
    )
    dropout: float = Field(default=0.1, ge=0, lt=1, description="Dropout behind each hidden layer.")
    ema_decay: float = Field(
        default=0.995, ge=0, lt=1, description="Memory of the moving average of the networks that is published."
    )
    learning_rate: float = Field(default=1e-3, gt=0, le=1, description="AdamW's step size.")
    weight_decay: float = Field(default=1e-2, ge=0, le=1, description="AdamW's pull towards zero.")
    batch_size: int = Field(default=64, ge=1, le=65536, description="Pictures of one training step.")
    pixels: Literal["drawn", "mean"] = Field(
        default="drawn",
        description="How a picture's pixels come of their probabilities: drawn, as the data is, or the mean, smoother.",
    )


class Vae(PictureRecipe[VaeConfig]):
    """Dense encoder and decoder around a Gaussian code. The decoder's moving average is published."""

    name = "vae"
    summary = "Variational autoencoder for small pictures, with its likelihood bound in bits per dim."
    Config = VaeConfig
    serve_modules = ("ema_decoder",)
    averages = MappingProxyType({"ema_decoder": "decoder", "ema_encoder": "encoder"})
    tunable = (*TUNABLE, "pixels")
    no_adapters = "its encoder is no part of a published version"
    privacy_obstacle = ""

    def build(self) -> nn.ModuleDict:
        """Return encoder and decoder, and the moving averages of both."""
        c = self.config
        pixels = math.prod(picture_shape(c))
        networks = {
            "encoder": _dense((pixels, *c.widths, 2 * c.latent_dim), c.dropout),
            "decoder": _dense((c.latent_dim, *reversed(c.widths), pixels * c.levels), c.dropout),
        }
        means = {f"ema_{name}": copy.deepcopy(net).eval().requires_grad_(False) for name, net in networks.items()}
        return nn.ModuleDict(networks | means)

    def optimizers(self, modules: nn.ModuleDict) -> dict[str, torch.optim.Optimizer]:
        """Return one AdamW over both networks."""
        c = self.config
        both = [*modules["encoder"].parameters(), *modules["decoder"].parameters()]
        return {"both": torch.optim.AdamW(both, lr=c.learning_rate, weight_decay=c.weight_decay)}

    def step(self, batch: Batch, ctx: StepContext) -> dict[str, Tensor]:
        """Raise the evidence bound, then move the averages."""
        told = self._bound(batch["x"], ctx, "")
        ctx.optimize("both", told["bits_per_dim"])
        for name in ("encoder", "decoder"):
            follow(ctx.modules[f"ema_{name}"], ctx.modules[name], self.config.ema_decay, ctx.step)
        return {name: value.detach() for name, value in told.items()}

    def evaluate(self, batch: Batch, ctx: EvaluationContext) -> dict[str, Tensor]:
        """Return the bound on unseen pictures: an upper bound of the bits that a pixel of them costs."""
        return self._bound(batch["x"], ctx, "ema_")

    def _bound(self, x: Tensor, ctx: EvaluationContext, which: str) -> dict[str, Tensor]:
        """Return the bits per dim, and the part of them that the code costs."""
        c = self.config
        pixels = x[0].numel()
        levels = ((x.flatten(1) + 1) / 2 * (c.levels - 1)).round().long().clamp(0, c.levels - 1)
        mean, log_variance = ctx.modules[f"{which}encoder"](x.flatten(1)).chunk(2, 1)
        noise = ctx.noise("code", mean.shape).to(mean.device)
        code = mean + (0.5 * log_variance).exp() * noise
        scores = ctx.modules[f"{which}decoder"](code).unflatten(1, (pixels, c.levels))
        picture = functional.cross_entropy(scores.transpose(1, 2), levels, reduction="sum") / len(x)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
        bits = pixels * math.log(2)
        return {"bits_per_dim": (picture + divergence) / bits, "code_bits_per_dim": divergence / bits}

    def sample(self, modules: nn.ModuleDict, seeds: Tensor, cond: Conditions) -> Tensor:
        """Return pictures of codes drawn from the prior: each pixel's level drawn, or its mean."""
        c, shape = self.config, picture_shape(self.config)
        device = next(modules["ema_decoder"].parameters()).device
        code = normal_rows(seeds, (c.latent_dim,)).to(device)
        shares: Tensor = modules["ema_decoder"](code).unflatten(1, (*shape, c.levels)).double().softmax(-1)
        if c.pixels == "drawn":
            chance = uniform_rows(seeds, (*shape, 1), _PIXEL_STREAM).to(device)
            levels = (shares.cumsum(-1) < chance).sum(-1).clamp(max=c.levels - 1).double()
        else:
            levels = (shares * torch.arange(c.levels, device=device)).sum(-1)
        return (levels / (c.levels - 1) * 2 - 1).float()


def _dense(widths: tuple[int, ...], dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for place, (wide_in, wide_out) in enumerate(itertools.pairwise(widths)):
        layers += [nn.Linear(wide_in, wide_out)]
        if place < len(widths) - 2:
            layers += [nn.SiLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers)
