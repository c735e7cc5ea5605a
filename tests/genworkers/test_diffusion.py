"""Diffusion: its schedule, its sampler, and that a short training is steered to a class."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from learning import drawn, learned, share_read_as
from torch import Tensor, nn

from genworkers.recipes.base import DataFacts, ItemShape
from genworkers.recipes.diffusion import Diffusion, signal_shares

DATA = DataFacts(shape=ItemShape(8, 8, 1))


def test_the_schedule_is_the_cosine_and_leaves_next_to_nothing() -> None:
    shares = signal_shares(1000)

    assert len(shares) == 1000
    assert bool((shares.diff() < 0).all())
    half = math.cos((0.5 + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    assert float(shares[499]) == pytest.approx(half, rel=1e-9)
    assert 0 < shares[-1] < 1e-6


class _Knows(nn.Module):
    """Tells the noise exactly, of one picture that it knows."""

    def __init__(self, picture: Tensor, timesteps: int) -> None:
        super().__init__()
        self.picture = nn.Parameter(picture)
        self.shares = signal_shares(timesteps)

    def forward(self, x: Tensor, times: Tensor, classes: Tensor) -> Tensor:
        kept = self.shares[(times * len(self.shares)).round().long() - 1].float()[:, None, None, None]
        return (x - kept.sqrt() * self.picture) / (1 - kept).sqrt()


@pytest.mark.parametrize("steps", [1, 7, 50, 1000])
def test_a_network_that_knows_the_picture_is_led_to_it_in_any_number_of_steps(steps: int) -> None:
    torch.manual_seed(0)
    picture = torch.rand(1, 8, 8) * 2 - 1
    recipe = Diffusion.configured({"sampling_steps": steps}, DATA)

    made = recipe.sample(nn.ModuleDict({"ema": _Knows(picture, 1000)}), torch.tensor([3, 4]), None)

    assert torch.allclose(made, picture.expand(2, 1, 8, 8), atol=1e-2)


@pytest.fixture(scope="module")
def few_diffusion() -> Any:
    torch.set_num_threads(1)
    params = {"width_of_network": 16, "sampling_steps": 10, "guidance": 2.0}
    recipe, state, _ = learned("diffusion", params, 150)
    return recipe, state


@pytest.mark.parametrize("wished", [3, 7])
def test_diffusion_makes_the_digit_that_is_asked_for(few_diffusion: Any, wished: int) -> None:
    assert share_read_as(wished, drawn(*few_diffusion, 64, {"class": wished})) > 0.4
