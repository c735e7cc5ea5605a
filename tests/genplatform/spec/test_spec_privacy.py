"""`privacy:` of a train job: a budget, and what it cannot be asked of, told when the file is submitted."""

from __future__ import annotations

import pytest
import yaml

from genplatform.errors import BadSpec
from genplatform.spec import RecipeBook, TrainSpec, load

PRIVACY = {"epsilon": 8, "delta": 1e-5}


def read(recipe: str, **more: object) -> TrainSpec:
    text = yaml.safe_dump({"kind": "train", "recipe": recipe, "privacy": PRIVACY} | more)
    (document,) = load(text.encode(), "application/yaml", RecipeBook.builtin())
    assert isinstance(document.spec, TrainSpec)
    return document.spec


def test_a_budget_has_a_bound_of_gradients_by_itself() -> None:
    spec = read("vae")

    assert spec.model_dump(mode="json")["privacy"] == {"epsilon": 8.0, "delta": 1e-5, "max_grad_norm": 1.0}
    assert read("flow", privacy=None).privacy is None


@pytest.mark.parametrize("recipe", ["flow", "diffusion", "vae"])
def test_families_of_one_loss_can_be_private(recipe: str) -> None:
    assert read(recipe).privacy is not None


@pytest.mark.parametrize(
    ("recipe", "why"),
    [
        ("gan", "two networks learn against each other"),
        ("dcgan", "two networks"),
        ("wgan-gp", "two networks"),
        ("pix2pix", "two networks"),
        ("gpt", "published with how often each occurs"),
        ("vqvae", "its codebook follows the items without noise"),
    ],
)
def test_others_are_refused_with_the_reason(recipe: str, why: str) -> None:
    with pytest.raises(BadSpec, match=why) as refused:
        read(recipe)

    assert refused.value.problems[0].path == "privacy"
    assert "diffusion, flow, vae" in refused.value.problems[0].hint


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"optimization": {"precision": "fp16"}}, "optimization.precision"),
        ({"optimization": {"accumulation_steps": 2}}, "optimization.accumulation_steps"),
        ({"optimization": {"max_grad_norm": 1.0}}, "optimization.max_grad_norm"),
        ({"optimization": {"compile": True}}, "optimization.compile"),
    ],
)
def test_what_does_not_go_with_it_is_refused_where_it_stands(more: dict[str, object], path: str) -> None:
    with pytest.raises(BadSpec, match="a training with privacy takes none") as refused:
        read("vae", **more)

    assert [problem.path for problem in refused.value.problems] == [path]
    assert read("vae", optimization={"schedule": "cosine"}).privacy is not None
