"""Pictures made of pictures by a conditional adversarial network: pix2pix (Isola et al., 2017).

A U-Net with skip connections makes the picture; a PatchGAN judges, patch by patch, whether it
goes with its source. Their losses are the adversarial one and the L1 distance to the true
picture. The only noise is dropout, when pictures are made too, as in the paper.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from genworkers.recipes.averaging import follow
from genworkers.recipes.base import (
    TUNABLE,
    Batch,
    Condition,
    Conditions,
    DataFacts,
    EvaluationContext,
    Recipe,
    RecipeConfig,
    StepContext,
)
from genworkers.recipes.fitting import picture_shape, sized
from genworkers.recipes.given import Picture, PictureCondition, PictureOf, picture_condition
from genworkers.recipes.likeness import psnr, ssim
from genworkers.recipes.picture import PictureConfig
from genworkers.recipes.randomness import uniform_rows

SMALLEST_SIDE = 8
MOST_WIDER = 8  # the widest layers have so many times the first one's channels
SLOPE = 0.2
KERNEL = 4
MOST_DROPPED = 3  # of the levels on the way up, the innermost; of a small picture's few levels, fewer
# Independent draws of one row; the masks of dropout take those behind them.
_SOURCE_STREAM, _MASK_STREAM = 1, 2

# Given features and their place on the way up, returns what is left of them.
Drop = Callable[[Tensor, int], Tensor]


class Pix2PixConfig(PictureConfig):
    """Networks and optimizer: the paper's, but narrower, and with larger batches, for small pictures on a CPU."""

    width_of_network: int = Field(default=32, ge=4, le=512, description="Channels of the outermost layers; paper: 64.")
    levels: int = Field(
        default=8, ge=1, le=10, description="How often the generator halves the picture; fewer where it is small."
    )
    patch_levels: int = Field(
        default=3, ge=1, le=6, description="How often the judge halves it, fewer where it is small; 3: patches of 70."
    )
    dropout: float = Field(default=0.5, ge=0, lt=1, description="Dropout of the innermost layers on the way up.")
    l1_weight: float = Field(default=100.0, ge=0, le=1e6, description="Weight of the L1 distance to the true picture.")
    adversarial_weight: float = Field(default=1.0, ge=0, le=1e6, description="Weight of what the judge says.")
    learning_rate: float = Field(
        default=1e-3, gt=0, le=1, description="Adam's step size; paper: 2e-4, for one pair a step."
    )
    ema_decay: float = Field(
        default=0.995, ge=0, lt=1, description="Memory of the moving average of the generator that is published."
    )
    batch_size: int = Field(default=16, ge=1, le=65536, description="Pairs of one training step; paper: 1.")
    source_channels: int | None = Field(
        default=None, ge=1, le=4, description="Of the picture that is given. Taken from the data."
    )


class Pix2Pix(Recipe[Pix2PixConfig]):
    """A U-Net generator and a PatchGAN. The generator's moving average is published."""

    name = "pix2pix"
    summary = "pix2pix: makes a picture of a picture, learned from pairs; U-Net and PatchGAN."
    Config = Pix2PixConfig
    cond_schema = PictureCondition
    serve_modules = ("ema",)
    averages = MappingProxyType({"ema": "generator"})
    tunable = (*TUNABLE, "adversarial_weight", "l1_weight")
    no_adapters = "the network that judges what they change is no part of a published version"
    privacy_obstacle = "two networks learn against each other, with an optimizer each"
    tile = 16

    @classmethod
    def fit_to(cls, config: RecipeConfig, data: DataFacts) -> RecipeConfig:
        """Take the pictures' sizes from the data; raises ValueError for data that has no pairs."""
        if data.shape is None:
            return config
        if data.source is None:
            raise ValueError("It learns from pairs of pictures, and the data has none: say data.format: pairs.")
        if min(data.shape.height, data.shape.width) < SMALLEST_SIDE:
            raise ValueError(f"It takes pictures of at least {SMALLEST_SIDE} pixels a side.")
        given = getattr(config, "source_channels", None)
        if given not in (None, data.source.channels):
            raise ValueError(f"params.source_channels is {given}, and the data's are {data.source.channels}.")
        fitted = sized(config, data).model_dump() | {"source_channels": data.source.channels}
        return cls.Config.model_validate(fitted)

    @property
    def conditions(self) -> type[Condition] | None:
        """The picture that an item is made of, in this model's size."""
        return picture_condition(PictureOf(*self._source_shape))

    @property
    def _source_shape(self) -> tuple[int, int, int]:
        channels, height, width = picture_shape(self.config)
        return self.config.source_channels or channels, height, width

    def build(self) -> nn.ModuleDict:
        """Return the generator, its moving average, and the judge."""
        c = self.config
        (channels, height, width), (given, _, _) = picture_shape(c), self._source_shape
        halvings = int(math.log2(min(height, width)))
        generator = _Generator(given, channels, c.width_of_network, max(1, min(c.levels, halvings - 1)))
        judge = _judge(given + channels, c.width_of_network, max(1, min(c.patch_levels, halvings - 3)))
        for network in (generator, judge):
            network.apply(_start)
        mean = copy.deepcopy(generator).eval().requires_grad_(False)
        return nn.ModuleDict({"generator": generator, "ema": mean, "discriminator": judge})

    def optimizers(self, modules: nn.ModuleDict) -> dict[str, torch.optim.Optimizer]:
        """Return an Adam for each network."""
        rate = self.config.learning_rate
        return {
            name: torch.optim.Adam(modules[name].parameters(), lr=rate, betas=(0.5, 0.999))
            for name in ("generator", "discriminator")
        }

    def step(self, batch: Batch, ctx: StepContext) -> dict[str, Tensor]:
        """Move the judge, then the generator against it and towards the true pictures, then its average."""
        c, true, source = self.config, batch["x"], batch["source"]
        judge = ctx.modules["discriminator"]
        made = ctx.modules["generator"](source, self._dropped(ctx))
        judged = (
            _loss(judge(torch.cat([source, true], 1)), 1.0) + _loss(judge(torch.cat([source, made.detach()], 1)), 0.0)
        ) / 2
        ctx.optimize("discriminator", judged)
        fooled = _loss(judge(torch.cat([source, made], 1)), 1.0)
        distance = functional.l1_loss(made, true)
        ctx.optimize("generator", c.adversarial_weight * fooled + c.l1_weight * distance)
        follow(ctx.modules["ema"], ctx.modules["generator"], c.ema_decay, ctx.step)
        return {
            "l1": distance.detach() / 2,
            "generator_loss": fooled.detach(),
            "discriminator_loss": judged.detach(),
        }

    def evaluate(self, batch: Batch, ctx: EvaluationContext) -> dict[str, Tensor]:
        """Return how like the true pictures are what is made of unseen ones and, beside it, these themselves."""
        true, source = batch["x"], batch["source"]
        made = ctx.modules["ema"](source, self._dropped(ctx))
        copied = source.mean(1, keepdim=True).expand_as(true) if source.shape[1] != true.shape[1] else source
        return _likeness(made, true, "") | _likeness(copied, true, "copied_")

    def asked(self, batch: Batch) -> list[dict[str, Any]] | None:
        """Ask for what each pair's picture is made of."""
        return [{"source": Picture("held out", pixels)} for pixels in batch["source"]]

    def sample(self, modules: nn.ModuleDict, seeds: Tensor, cond: Conditions) -> Tensor:
        """Return what is made of each row's picture, or of noise where it has none."""
        network = modules["ema"]
        device = next(network.parameters()).device
        noise = uniform_rows(seeds, self._source_shape, _SOURCE_STREAM).float() * 2 - 1
        given = [wish.source.pixels if wish.source else None for wish in cond or [PictureCondition()] * len(seeds)]
        source = torch.stack([drawn if one is None else one for one, drawn in zip(given, noise, strict=True)])

        def drop(features: Tensor, place: int) -> Tensor:
            chance = uniform_rows(seeds, features.shape[1:], _MASK_STREAM + place).to(device)
            return features * (chance >= self.config.dropout) / (1 - self.config.dropout)

        made: Tensor = network(source.to(device), drop)
        return made

    def _dropped(self, ctx: EvaluationContext) -> Drop:
        def drop(features: Tensor, place: int) -> Tensor:
            # As uniform as the normal noise that it is made of, and the same whatever the number of workers.
            chance = torch.special.ndtr(ctx.noise(f"drop/{place}", features.shape)).to(features.device)
            kept: Tensor = features * (chance >= self.config.dropout) / (1 - self.config.dropout)
            return kept

        return drop


class _Generator(nn.Module):
    """A U-Net: halves a picture `levels` times, and doubles it again with what it was at each size beside it."""

    def __init__(self, given: int, made: int, width: int, levels: int) -> None:
        super().__init__()
        widths = [width * min(2**level, MOST_WIDER) for level in range(levels)]
        # One at least, or seeds would change nothing.
        self.dropped = min(MOST_DROPPED, max(1, (levels - 1) // 2))
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        before = given
        for level, wide in enumerate(widths):
            layers: list[nn.Module] = [] if level == 0 else [nn.LeakyReLU(SLOPE)]
            layers.append(nn.Conv2d(before, wide, KERNEL, 2, 1))
            if 0 < level < levels - 1:
                layers.append(nn.InstanceNorm2d(wide))
            self.down.append(nn.Sequential(*layers))
            before = wide
        for level in reversed(range(levels)):
            wide = widths[level - 1] if level else made
            norm = nn.InstanceNorm2d(wide) if level else nn.Tanh()
            self.up.append(nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(before, wide, KERNEL, 2, 1), norm))
            before = 2 * wide

    def forward(self, x: Tensor, drop: Drop) -> Tensor:
        """Return the picture that is made of each."""
        sizes, kept = [x.shape[-2:]], []
        h = x
        for block in self.down:
            h = block(h)
            kept.append(h)
            sizes.append(h.shape[-2:])
        kept.pop()
        for place, block in enumerate(self.up):
            h = block(h)
            size = sizes[-2 - place]
            if h.shape[-2:] != size:  # of a side that is no multiple: halving lost a row
                h = functional.interpolate(h, size=size, mode="nearest")
            if place < len(self.up) - 1:
                h = drop(h, place) if place < self.dropped else h
                h = torch.cat([h, kept.pop()], 1)
        return h


def _judge(channels: int, width: int, levels: int) -> nn.Sequential:
    """Return a PatchGAN: a number for each patch, of a picture and its source as one."""
    layers: list[nn.Module] = [nn.Conv2d(channels, width, KERNEL, 2, 1), nn.LeakyReLU(SLOPE)]
    before = width
    for level in range(1, levels + 1):
        wide = width * min(2**level, MOST_WIDER)
        stride = 2 if level < levels else 1
        layers += [nn.Conv2d(before, wide, KERNEL, stride, 1), nn.InstanceNorm2d(wide), nn.LeakyReLU(SLOPE)]
        before = wide
    return nn.Sequential(*layers, nn.Conv2d(before, 1, KERNEL, 1, 1))


def _start(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _loss(scores: Tensor, wanted: float) -> Tensor:
    return functional.binary_cross_entropy_with_logits(scores, torch.full_like(scores, wanted))


def _likeness(made: Tensor, true: Tensor, prefix: str) -> dict[str, Tensor]:
    one, other = (made.float() + 1) / 2, (true.float() + 1) / 2
    told = {"l1": (one - other).abs(), "psnr": psnr(one, other), "ssim": ssim(one, other)}
    return {f"{prefix}{name}": value.mean() for name, value in told.items()}
