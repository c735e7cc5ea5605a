"""Flow matching (Lipman et al., 2023; rectified flow, Liu et al., 2023) with a small U-Net.

A straight path leads from noise to each picture, and the network learns the velocity along it;
times are drawn from a logit-normal (Esser et al., 2024). Samples follow the learned velocity
with Heun's method, steered towards a class by classifier-free guidance (Ho and Salimans, 2022).
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from genworkers.recipes.base import Conditions, EvaluationContext
from genworkers.recipes.fitting import picture_shape
from genworkers.recipes.guided import GuidedConfig, GuidedRecipe
from genworkers.recipes.randomness import normal_rows


class FlowConfig(GuidedConfig):
    """Network, optimizer and sampler. The defaults make good 8x8 digits after a few hundred steps."""

    sampling_steps: int = Field(default=20, ge=1, le=1000, description="Heun steps from noise to a picture.")


class Flow(GuidedRecipe[FlowConfig]):
    """A U-Net that moves noise to pictures along straight paths."""

    name = "flow"
    summary = "Flow matching with a small U-Net: the best pictures per step; by class where the data has classes."
    Config = FlowConfig

    def loss(self, network: nn.Module, x: Tensor, labels: Tensor, ctx: EvaluationContext) -> Tensor:
        """Return the squared distance from the velocity at random points of the paths."""
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
        labels = self.wished_classes(seeds, cond).to(device)
        width = 1 / c.sampling_steps
        for number in range(c.sampling_steps):
            here, there = number * width, (number + 1) * width
            velocity = self.guided(network, x, here, labels)
            ahead = x + width * velocity
            x = x + width / 2 * (velocity + self.guided(network, ahead, there, labels))
        return x.clamp(-1, 1)
