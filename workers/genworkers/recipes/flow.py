"""Flow matching (Lipman et al., 2023; rectified flow, Liu et al., 2023) with a small U-Net.

A straight path leads from noise to each picture, and the network learns the velocity along it;
times are drawn from a logit-normal (Esser et al., 2024). Samples follow the learned velocity
with Heun's method, steered towards a class by classifier-free guidance (Ho and Salimans, 2022).
"""

from __future__ import annotations

import copy
import math

import torch
from pydantic import Field
from torch import Tensor, nn

from genworkers.recipes.averaging import follow
from genworkers.recipes.base import (
    Batch,
    Condition,
    Conditions,
    DataFacts,
    EvaluationContext,
    Recipe,
    RecipeConfig,
    StepContext,
)
from genworkers.recipes.fitting import (
    ClassCondition,
    Classes,
    Side,
    class_rows,
    classed,
    condition_on,
    picture_shape,
    sized,
)
from genworkers.recipes.randomness import normal_rows
from genworkers.recipes.unet import UNet

# Independent draws of one row.
_CLASS_STREAM = 1


class FlowConfig(RecipeConfig):
    """Network, optimizer and sampler. The defaults make good 8x8 digits after a few hundred steps."""

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
    sampling_steps: int = Field(default=20, ge=1, le=1000, description="Heun steps from noise to a picture.")
    batch_size: int = Field(default=64, ge=1, le=65536, description="Pictures of one training step.")
    classes: Classes = Field(
        default=None, description="Names of the classes, taken from the data. An empty list: the model knows none."
    )
    height: Side = Field(default=None, description="Taken from the data.")
    width: Side = Field(default=None, description="Taken from the data.")
    channels: int | None = Field(default=None, ge=1, le=4, description="Taken from the data.")


class Flow(Recipe[FlowConfig]):
    """A U-Net that moves noise to pictures along straight paths."""

    name = "flow"
    summary = "Flow matching with a small U-Net: the best pictures per step; by class where the data has classes."
    Config = FlowConfig
    cond_schema = ClassCondition
    serve_modules = ("ema",)

    @classmethod
    def fit_to(cls, config: RecipeConfig, data: DataFacts) -> RecipeConfig:
        """Take the picture's size and the classes' names from the data."""
        return classed(sized(config, data), data)

    @property
    def conditions(self) -> type[Condition] | None:
        """The classes that this model knows."""
        return condition_on(self.config.classes) if self.config.classes else None

    def build(self) -> nn.ModuleDict:
        """Return the network and its moving average."""
        c = self.config
        channels, _, _ = picture_shape(c)
        # One class more than there are: the hidden one.
        live = UNet(channels, c.width_of_network, c.levels, len(c.classes or ()) + 1)
        return nn.ModuleDict({"network": live, "ema": copy.deepcopy(live).eval().requires_grad_(False)})

    def optimizers(self, modules: nn.ModuleDict) -> dict[str, torch.optim.Optimizer]:
        """Return AdamW."""
        c = self.config
        adam = torch.optim.AdamW(
            modules["network"].parameters(), lr=c.learning_rate, betas=(0.9, 0.99), weight_decay=c.weight_decay
        )
        return {"network": adam}

    def step(self, batch: Batch, ctx: StepContext) -> dict[str, Tensor]:
        """Move the network towards the velocity of random points on the paths, then the average."""
        c, x = self.config, batch["x"]
        labels = self._labels(batch)
        if c.classes:
            hidden = ctx.uniform("generator", (len(x),)) < c.class_dropout
            labels = torch.where(hidden.to(labels.device), self._hidden, labels)
        loss = self._loss(ctx.modules["network"], x, labels, ctx)
        ctx.optimize("network", loss)
        follow(ctx.modules["ema"], ctx.modules["network"], c.ema_decay, ctx.step)
        return {"loss": loss.detach()}

    def evaluate(self, batch: Batch, ctx: EvaluationContext) -> dict[str, Tensor]:
        """Return the average network's loss, on unseen pictures."""
        return {"loss": self._loss(ctx.modules["ema"], batch["x"], self._labels(batch), ctx)}

    @property
    def _hidden(self) -> int:
        return len(self.config.classes or ())

    def _labels(self, batch: Batch) -> Tensor:
        if self.config.classes:
            return batch["label"]
        return torch.zeros(len(batch["x"]), dtype=torch.long, device=batch["x"].device)

    def _loss(self, network: nn.Module, x: Tensor, labels: Tensor, ctx: EvaluationContext) -> Tensor:
        noise = ctx.noise("start", x.shape).to(x.device)
        times = ctx.noise("time", (len(x),)).to(x.device).sigmoid()
        along = times[:, None, None, None]
        at = (1 - along) * noise + along * x
        velocity: Tensor = network(at, times, labels)
        return (velocity - (x - noise)).square().mean()

    def sample(self, modules: nn.ModuleDict, seeds: Tensor, cond: Conditions) -> Tensor:
        """Return pictures: each row's noise, moved along the average network's velocity from time 0 to 1."""
        c, network = self.config, modules["ema"]
        device = next(network.parameters()).device
        x = normal_rows(seeds, picture_shape(c)).to(device)
        if c.classes:
            labels = class_rows(c.classes, seeds, cond or [ClassCondition()] * len(seeds), _CLASS_STREAM).to(device)
        else:
            labels = torch.zeros(len(seeds), dtype=torch.long, device=device)
        width = 1 / c.sampling_steps
        for number in range(c.sampling_steps):
            here, there = number * width, (number + 1) * width
            velocity = self._velocity(network, x, here, labels)
            ahead = x + width * velocity
            x = x + width / 2 * (velocity + self._velocity(network, ahead, there, labels))
        return x.clamp(-1, 1)

    def _velocity(self, network: nn.Module, x: Tensor, time: float, labels: Tensor) -> Tensor:
        times = torch.full((len(x),), time, device=x.device)
        wished: Tensor = network(x, times, labels)
        if not self.config.classes or math.isclose(self.config.guidance, 1.0):
            return wished
        free: Tensor = network(x, times, torch.full_like(labels, self._hidden))
        return free + self.config.guidance * (wished - free)
