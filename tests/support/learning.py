"""Recipes trained on the digits in this process, as the engine trains them, and drawn from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from genworkers import models
from genworkers.data.dataset import Order, split_indices
from genworkers.data.sources import open_source
from genworkers.recipes import registry
from genworkers.recipes.base import FirstStage, Recipe
from genworkers.sampler import Sampler
from genworkers.training.evaluation import evaluate
from genworkers.training.loop import facts_of
from genworkers.training.state import EngineStep, TrainState

Learned = tuple[Recipe[Any], TrainState, dict[str, float]]


def learned(name: str, params: dict[str, Any], steps: int, first_stage: FirstStage | None = None) -> Learned:
    """Train on the digits from seed 0; return recipe, state, and what validation says."""
    dataset: Any = open_source({"source": "digits"})
    parts = split_indices(len(dataset))
    recipe = registry.find(name).configured(params, facts_of(dataset), first_stage)
    state = TrainState.fresh(recipe, 0, first_stage)
    order, engine = Order(parts["train"], recipe.batch_size, 0), EngineStep(state, 0, 0)
    for step in range(steps):
        engine.begin(step)
        recipe.step(dataset.rows(order.batch(step)), engine)
        state.step += 1
    return recipe, state, evaluate(recipe, state, dataset, parts["validation"], 0)


def as_first_stage(learnt: Learned) -> FirstStage:
    """Return a trained model as one that others build on."""
    recipe, state, _ = learnt
    return FirstStage("0" * 64, recipe, models.served(recipe, state.modules))


def drawn(recipe: Recipe[Any], state: TrainState, count: int, cond: dict[str, Any] | None = None) -> Tensor:
    """Return so many pictures, (count, channels, height, width) in [-1, 1]."""
    sampler = Sampler(recipe, models.served(recipe, state.modules), recipe.tile)
    payloads = sampler.draw([7919 * i for i in range(count)], [cond] * count)
    return torch.stack([torch.from_numpy(p).permute(2, 0, 1) for p in payloads]).float() / 127.5 - 1


def share_read_as(wished: int, pictures: Tensor) -> float:
    """Return the share of pictures that are nearer to the mean of one digit than to that of any other."""
    dataset: Any = open_source({"source": "digits"})
    real, labels = dataset.rows(torch.arange(len(dataset)))["x"], dataset.labels
    means = torch.stack([real[labels == digit].mean(0) for digit in range(10)]).flatten(1)
    return float((torch.cdist(pictures.flatten(1), means).argmin(1) == wished).float().mean())
