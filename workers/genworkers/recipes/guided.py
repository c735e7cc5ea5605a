"""What flow matching and diffusion have in common: a U-Net that is told a time and a class, and is guided to one.

Some pictures' classes are hidden from it while it learns, so that one network knows pictures of a
class and of any; samples are steered by the difference (Ho and Salimans, 2022).
"""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from types import MappingProxyType
from typing import TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn

from genworkers.recipes.averaging import follow
from genworkers.recipes.base import Batch, EvaluationContext, StepContext
from genworkers.recipes.fitting import picture_shape
from genworkers.recipes.picture import ClassConfig, ClassRecipe
from genworkers.recipes.unet import UNet


class GuidedConfig(ClassConfig):
    """Network, optimizer and guidance."""

    width_of_network: int = Field(
        default=32, ge=8, le=1024, multiple_of=8, description="Channels of the network at full size."
    )
    levels: int = Field(default=2, ge=1, le=5, description="Sizes the network works at; each halves the one before.")
    learning_rate: float = Field(default=1e-3, gt=0, le=1, description="AdamW's step size.")
    weight_decay: float = Field(default=0.0, ge=0, le=1, description="AdamW's pull towards zero.")
    ema_decay: float = Field(
        default=0.995, ge=0, lt=1, description="Memory of the moving average of the network that is published."
    )
    class_dropout: float = Field(
        default=0.15, ge=0, le=1, description="Share of training pictures whose class is hidden, for the guidance."
    )
    guidance: float = Field(default=1.0, ge=0, le=20, description="How hard a class is asked for; 1: as in the data.")
    batch_size: int = Field(default=64, ge=1, le=65536, description="Pictures of one training step.")


G = TypeVar("G", bound=GuidedConfig)


class GuidedRecipe(ClassRecipe[G]):
    """A U-Net and its moving average, which is published. A subclass says what the network learns and how it draws."""

    serve_modules = ("ema",)
    averages = MappingProxyType({"ema": "network"})
    privacy_obstacle = ""

    def build(self) -> nn.ModuleDict:
        """Return the network and its moving average."""
        c = self.config
        channels, _, _ = picture_shape(c)
        # One class more than there are: the hidden one.
        live = UNet(channels, c.width_of_network, c.levels, self.class_count + 1)
        return nn.ModuleDict({"network": live, "ema": copy.deepcopy(live).eval().requires_grad_(False)})

    def optimizers(self, modules: nn.ModuleDict) -> dict[str, torch.optim.Optimizer]:
        """Return AdamW."""
        c = self.config
        adam = torch.optim.AdamW(
            modules["network"].parameters(), lr=c.learning_rate, betas=(0.9, 0.99), weight_decay=c.weight_decay
        )
        return {"network": adam}

    def step(self, batch: Batch, ctx: StepContext) -> dict[str, Tensor]:
        """Move the network down its loss, some classes hidden, then the average."""
        c, labels = self.config, self.labels(batch)
        if c.classes:
            hidden = ctx.uniform("generator", (len(labels),)) < c.class_dropout
            labels = torch.where(hidden.to(labels.device), self.class_count, labels)
        loss = self.loss(ctx.modules["network"], batch["x"], labels, ctx)
        ctx.optimize("network", loss)
        follow(ctx.modules["ema"], ctx.modules["network"], c.ema_decay, ctx.step)
        return {"loss": loss.detach()}

    def evaluate(self, batch: Batch, ctx: EvaluationContext) -> dict[str, Tensor]:
        """Return the average network's loss, on unseen pictures."""
        return {"loss": self.loss(ctx.modules["ema"], batch["x"], self.labels(batch), ctx)}

    @abstractmethod
    def loss(self, network: nn.Module, x: Tensor, labels: Tensor, ctx: EvaluationContext) -> Tensor:
        """Return how far the network is from what it is to say of pictures made noisy, as a mean over the rows."""

    def guided(self, network: nn.Module, x: Tensor, time: float, labels: Tensor) -> Tensor:
        """Return what the network says at one time of [0, 1], steered towards the classes."""
        times = torch.full((len(x),), time, device=x.device)
        wished: Tensor = network(x, times, labels)
        if not self.config.classes or math.isclose(self.config.guidance, 1.0):
            return wished
        free: Tensor = network(x, times, torch.full_like(labels, self.class_count))
        return free + self.config.guidance * (wished - free)
