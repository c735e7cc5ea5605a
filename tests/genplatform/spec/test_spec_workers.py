"""`resources.workers` of a train job: how many can share a recipe's batches, told when the file is submitted."""

from __future__ import annotations

import pytest
import yaml

from genplatform.errors import BadSpec
from genplatform.spec import RecipeBook, load


def read(recipe: str, workers: int | str) -> object:
    text = yaml.safe_dump({"kind": "train", "recipe": recipe, "resources": {"workers": workers}})
    (document,) = load(text.encode(), "application/yaml", RecipeBook.builtin())
    return document.spec


@pytest.mark.parametrize("workers", [2, "1..4"])
def test_a_recipe_whose_batches_cannot_be_shared_has_one_worker_on_every_try(workers: int | str) -> None:
    with pytest.raises(BadSpec, match="its codebook follows all rows of a batch at once") as refused:
        read("vqvae", workers)

    assert refused.value.problems[0].path == "resources.workers"


def test_others_are_trained_by_several_and_this_one_by_one() -> None:
    assert read("flow", "1..4") is not None
    assert read("vqvae", 1) is not None
