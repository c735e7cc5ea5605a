"""Families of pictures compute in less than full precision too, and say where a batch cannot be read in parts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from notebook import Notebook, train

from genplatform.errors import BadRequest
from genworkers.recipes import registry
from genworkers.recipes.base import IMAGE, DataFacts, ItemShape
from genworkers.training.job import Optimization
from genworkers.training.state import EngineStep, TrainState

FACTS = DataFacts(IMAGE, ItemShape(8, 8, 1), ("0", "1"), source=ItemShape(8, 8, 1))
ALONE = sorted(
    name
    for name in registry.BUILTIN
    if (recipe := registry.find(name)).trainable and recipe.modality == IMAGE and recipe.first_stage is None
)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", ALONE)
def test_a_step_in_less_than_full_precision_moves_the_networks(name: str, precision: str) -> None:
    recipe = registry.find(name).configured({"batch_size": 8}, FACTS)
    state = TrainState.fresh(recipe, seed=3)
    before = {key: value.clone() for key, value in state.modules.state_dict().items()}
    pictures = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    batch = {"x": pictures, "source": -pictures, "label": torch.arange(8) % 2}

    told = EngineStep(state, 3, 0, Optimization(precision=precision)).run(recipe, batch, measures=False)

    assert all(value.isfinite() for value in told.values())
    after = state.modules.state_dict()
    assert all(value.dtype == before[key].dtype for key, value in after.items())
    assert any(not torch.equal(value, before[key]) for key, value in after.items())


def test_a_codebook_that_follows_whole_batches_refuses_their_parts(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="The recipe vqvae reads no batch in 4 parts: its codebook follows all rows"):
        train(Notebook(tmp_path), recipe="vqvae", params={}, optimization=Optimization(accumulation_steps=4))
