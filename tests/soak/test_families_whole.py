"""The families at their defaults, trained on real digits for as long as their thresholds were measured at."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from digit_judge import Judge
from torch import Tensor

from genworkers import models
from genworkers.data.dataset import Order, split_indices
from genworkers.data.sources import open_source
from genworkers.recipes import registry
from genworkers.sampler import Sampler
from genworkers.training.evaluation import evaluate
from genworkers.training.loop import facts_of
from genworkers.training.state import EngineStep, TrainState

pytestmark = pytest.mark.soak


@pytest.fixture(scope="module")
def judge() -> Judge:
    torch.set_num_threads(1)
    return Judge()


def learned(name: str, steps: int) -> tuple[Tensor, dict[str, float]]:
    """Train with the defaults; return 1,280 pictures and what validation says."""
    dataset: Any = open_source({"source": "digits"})
    parts = split_indices(len(dataset))
    recipe = registry.find(name).configured({}, facts_of(dataset))
    state, order = TrainState.fresh(recipe, 0), Order(parts["train"], recipe.batch_size, 0)
    engine = EngineStep(state, 0, 0)
    for step in range(steps):
        engine.begin(step)
        recipe.step(dataset.rows(order.batch(step)), engine)
    sampler = Sampler(recipe, models.served(recipe, state.modules), recipe.tile)
    drawn = sampler.draw([7919 * i for i in range(1280)])
    pictures = torch.stack([torch.from_numpy(payload).permute(2, 0, 1) for payload in drawn])
    return pictures.float() / 127.5 - 1, evaluate(recipe, state, dataset, parts["validation"], 0)


def test_flow_is_close_to_the_digits_after_400_steps(judge: Judge, record_property: Any) -> None:
    pictures, _ = learned("flow", 400)

    distance = judge.frechet(pictures)
    record_property("frechet", distance)
    shares = torch.bincount(judge.classes(pictures), minlength=10) / len(pictures)
    assert distance < 2
    assert distance < judge.frechet(judge.gaussian(1280)) / 2
    assert shares.min() >= 0.01
    assert judge.nearest_training_distance(pictures) >= judge.nearest_training_distance(judge.digits.held_out)


def test_a_vae_has_few_bits_per_pixel_after_900_steps(judge: Judge, record_property: Any) -> None:
    pictures, metrics = learned("vae", 900)

    distance = judge.frechet(pictures)
    record_property("frechet", distance)
    assert metrics["validation_bits_per_dim"] < 2.2
    assert distance < 7
    assert distance < judge.frechet(judge.gaussian(1280))
    assert (torch.bincount(judge.classes(pictures), minlength=10) / len(pictures)).min() >= 0.01
