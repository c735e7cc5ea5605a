"""pix2pix: makes pictures of pictures it has not seen, better than the pictures themselves, in seconds."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from genworkers.data import digits
from genworkers.data.dataset import Order, split_indices
from genworkers.recipes import registry
from genworkers.recipes.base import DataFacts, ItemShape, Recipe
from genworkers.recipes.likeness import psnr, ssim
from genworkers.training.evaluation import evaluate
from genworkers.training.loop import facts_of
from genworkers.training.sheet import beside, draw_sheet
from genworkers.training.state import EngineStep, TrainState


def configured(params: dict[str, Any], height: int, width: int, channels: int = 3, given: int = 1) -> Recipe[Any]:
    facts = DataFacts(shape=ItemShape(height, width, channels), source=ItemShape(height, width, given))
    return registry.find("pix2pix").configured(params, facts)


def test_it_makes_unseen_digits_of_their_outlines() -> None:
    dataset = digits.outlines()
    parts = split_indices(len(dataset))
    recipe = registry.find("pix2pix").configured({"width_of_network": 16}, facts_of(dataset))
    state, order = TrainState.fresh(recipe, 0), Order(parts["train"], recipe.batch_size, 0)
    engine = EngineStep(state, 0, 0)

    for step in range(250):
        engine.begin(step)
        recipe.step(dataset.rows(order.batch(step)), engine)
        state.step += 1
    metrics = evaluate(recipe, state, dataset, parts["validation"], 0)

    assert metrics["validation_psnr"] > metrics["validation_copied_psnr"] + 6
    assert metrics["validation_ssim"] > max(0.5, metrics["validation_copied_ssim"] + 0.3)
    assert metrics["validation_l1"] < metrics["validation_copied_l1"] / 2


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 23), (72, 72)])
def test_pictures_of_any_size_keep_it(height: int, width: int) -> None:
    recipe = configured({"width_of_network": 4}, height, width)
    modules = TrainState.fresh(recipe, 0).modules

    made = recipe.sample(modules, torch.arange(2), None)

    assert made.shape == (2, 3, height, width)
    assert float(made.abs().max()) <= 1


def test_data_that_cannot_be_learned_from_is_told() -> None:
    recipe, shape = registry.find("pix2pix"), ItemShape(8, 8, 1)

    with pytest.raises(ValueError, match=r"the data has none: say data\.format: pairs"):
        recipe.configured({}, DataFacts(shape=shape))
    with pytest.raises(ValueError, match="at least 8 pixels"):
        configured({}, 7, 8)
    with pytest.raises(ValueError, match=r"params\.source_channels is 3, and the data's are 1"):
        configured({"source_channels": 3}, 8, 8)


def test_a_sheet_shows_what_was_given_beside_what_is_made_in_colour_where_one_is() -> None:
    grey, colour = np.full((8, 8, 1), 9, np.uint8), np.full((8, 8, 3), 200, np.uint8)

    pictures = beside([grey, grey], [colour, colour])

    assert [one.shape for one in pictures] == [(8, 8, 3)] * 4
    assert [int(one[0, 0, 0]) for one in pictures] == [9, 200, 9, 200]
    sheet = Image.open(io.BytesIO(draw_sheet(pictures, across=2)))
    assert sheet.size[0] == sheet.size[1]


def slow_ssim(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    """The formula of the paper, a window at a time."""
    at = np.arange(11) - 5
    weights = np.exp(-(at[:, None] ** 2 + at[None, :] ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    found = []
    for y in range(one.shape[0] - 10):
        for x in range(one.shape[1] - 10):
            a, b = one[y : y + 11, x : x + 11], other[y : y + 11, x : x + 11]
            mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
            spread_a, spread_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
            both = (weights * (a - mean_a) * (b - mean_b)).sum()
            top = (2 * mean_a * mean_b + 1e-4) * (2 * both + 9e-4)
            found.append(top / ((mean_a**2 + mean_b**2 + 1e-4) * (spread_a + spread_b + 9e-4)))
    return float(np.mean(found))


def test_structural_similarity_is_the_papers() -> None:
    noise = np.random.default_rng(0)
    one = noise.random((2, 3, 16, 19))
    other = np.clip(one + noise.normal(0, 0.2, one.shape), 0, 1)

    found = ssim(torch.from_numpy(one), torch.from_numpy(other))

    wanted = [np.mean([slow_ssim(one[row, c], other[row, c]) for c in range(3)]) for row in range(2)]
    assert found.tolist() == pytest.approx(wanted, abs=1e-9)
    assert ssim(torch.from_numpy(one), torch.from_numpy(one)).tolist() == pytest.approx([1, 1])


def test_the_noise_ratio_is_in_decibels_and_finite() -> None:
    one, other = torch.zeros(2, 1, 4, 4), torch.full((2, 1, 4, 4), 0.1)

    assert psnr(one, other).tolist() == pytest.approx([20.0, 20.0], abs=1e-4)
    assert math.isfinite(psnr(one, one)[0])
