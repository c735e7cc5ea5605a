"""What the language model's family is held to, with its defaults: minutes of training."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from shared_data import shared

from genworkers.data.blocks import learnable
from genworkers.data.dataset import Dataset, Order, split
from genworkers.data.sources import open_source
from genworkers.recipes.gpt import Gpt
from genworkers.training.evaluation import evaluate
from genworkers.training.state import EngineStep, TrainState

pytestmark = pytest.mark.soak


def topics() -> Dataset:
    return open_source({"source": "topics"})


def shakespeare() -> Dataset:
    path = shared("text", "tinyshakespeare.txt")
    return open_source({"source": str(path), "documents": 2000}, [str(path.parent)])


@pytest.mark.parametrize("opened", [topics, shakespeare])
def test_a_gpt_of_defaults_needs_far_fewer_bits_than_how_often_each_token_is(opened: Callable[[], Dataset]) -> None:
    torch.set_num_threads(1)
    dataset = opened()
    recipe = Gpt.configured({})
    blocks, cut = learnable(recipe, dataset, split(dataset)[0])
    state, order = TrainState.fresh(recipe, 0), Order(cut["train"], recipe.batch_size, 0)
    engine = EngineStep(state, 0, 0)
    for step in range(300):
        engine.begin(step)
        recipe.step(blocks.rows(order.batch(step)), engine)

    told = evaluate(recipe, state, blocks, cut["test"], 0)

    assert told["validation_bits_per_byte"] < 0.85 * told["validation_unigram_bits_per_byte"]
