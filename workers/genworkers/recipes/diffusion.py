"""Diffusion: DDPM training (Ho, Jain and Abbeel, 2020) and DDIM sampling (Song, Meng and Ermon, 2021).

The network learns the noise that a picture was mixed with, under the cosine schedule (Nichol and
Dhariwal, 2021). A sample goes back from noise in a few even steps, without new noise; what it
takes the picture to be is held in [-1, 1] on the way. Steered towards a class by
classifier-free guidance (Ho and Salimans, 2022).
"""

from __future__ import annotations

import itertools
import math

import torch
from pydantic import Field
from torch import Tensor, nn

from genworkers.recipes.base import Conditions, EvaluationContext
from genworkers.recipes.fitting import picture_shape
from genworkers.recipes.guided import GuidedConfig, GuidedRecipe
from genworkers.recipes.randomness import normal_rows

_OFFSET = 0.008  # of the cosine schedule: without it the least noisy pictures would have next to no noise
_LARGEST_BETA = 0.999


class DiffusionConfig(GuidedConfig):
    """Network, optimizer, schedule and sampler. The defaults make good 8x8 digits after a few hundred steps."""

    timesteps: int = Field(default=1000, ge=2, le=10_000, description="Degrees of noise that are learned.")
    sampling_steps: int = Field(
        default=50, ge=1, le=1000, description="DDIM steps from noise to a picture, at most as many as timesteps."
    )


class Diffusion(GuidedRecipe[DiffusionConfig]):
    """A U-Net that tells noise from pictures."""

    name = "diffusion"
    summary = "Diffusion: DDPM training, DDIM sampling, small U-Net; by class where the data has classes."
    Config = DiffusionConfig

    def loss(self, network: nn.Module, x: Tensor, labels: Tensor, ctx: EvaluationContext) -> Tensor:
        """Return the squared distance from the noise, at degrees of it that are drawn alike."""
        c = self.config
        noise = ctx.noise("noise", x.shape).to(x.device)
        chance = torch.special.ndtr(ctx.noise("time", (len(x),)).double())
        degrees = (chance * c.timesteps).long().clamp(max=c.timesteps - 1).to(x.device)
        kept = signal_shares(c.timesteps).to(x.device)[degrees].float()[:, None, None, None]
        told: Tensor = network(kept.sqrt() * x + (1 - kept).sqrt() * noise, (degrees + 1) / c.timesteps, labels)
        return (told - noise).square().mean()

    def sample(self, modules: nn.ModuleDict, seeds: Tensor, cond: Conditions) -> Tensor:
        """Return pictures: each row's noise, led back by the average network."""
        c, network = self.config, modules["ema"]
        device = next(network.parameters()).device
        x = normal_rows(seeds, picture_shape(c)).to(device)
        labels = self.wished_classes(seeds, cond).to(device)
        shares = [1.0, *signal_shares(c.timesteps).tolist()]  # by the number of degrees that are left
        steps = min(c.sampling_steps, c.timesteps)
        left = [round(c.timesteps * (steps - number) / steps) for number in range(steps + 1)]
        picture = x
        for here, there in itertools.pairwise(left):
            noise = self.guided(network, x, here / c.timesteps, labels)
            picture = ((x - math.sqrt(1 - shares[here]) * noise) / math.sqrt(shares[here])).clamp(-1, 1)
            noise = (x - math.sqrt(shares[here]) * picture) / math.sqrt(1 - shares[here])
            x = math.sqrt(shares[there]) * picture + math.sqrt(1 - shares[there]) * noise
        return picture


def signal_shares(timesteps: int) -> Tensor:
    """Return the share of the picture's variance that is left after 1, 2, ... degrees of noise, as float64."""
    places = torch.arange(timesteps + 1, dtype=torch.float64) / timesteps
    ideal = torch.cos((places + _OFFSET) / (1 + _OFFSET) * math.pi / 2).square()
    betas = (1 - ideal[1:] / ideal[:-1]).clamp(max=_LARGEST_BETA)
    return torch.cumprod(1 - betas, 0)
