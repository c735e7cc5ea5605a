"""The families: each keeps what the engine expects, learns from real digits in seconds, and heeds what it is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from learning import drawn, learned, share_read_as
from PIL import Image

from genplatform.domain.seeds import item_seed
from genplatform.errors import BadRequest
from genworkers import conformance, models
from genworkers.data.sources import open_source
from genworkers.generating.shard import claim_key, drawn_together, write_shard
from genworkers.images import payload_sha256
from genworkers.recipes import registry
from genworkers.recipes.base import DataFacts, ItemShape, Recipe
from genworkers.recipes.fitting import condition_on
from genworkers.recipes.unet import UNet
from genworkers.sampler import Sampler
from genworkers.training.loop import facts_of
from genworkers.training.state import TrainState

# Small enough that a whole suite of checks takes a second or two.
SMALL: dict[str, dict[str, Any]] = {
    "dcgan": {"width_of_network": 8},
    "diffusers": {"width_of_network": 8, "sampling_steps": 2, "guidance": 2.0},
    "diffusion": {"width_of_network": 8, "sampling_steps": 2, "guidance": 2.0},
    "flow": {"width_of_network": 8, "sampling_steps": 2, "guidance": 2.0},
    "gan": {"generator_widths": [16], "discriminator_widths": [16]},
    "gpt": {"width": 16, "layers": 1, "heads": 1, "context_length": 24, "vocabulary": 300},
    "hf-causal-lm": {
        "context_length": 24,
        "vocabulary": 300,
        "architecture": {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 1, "n_positions": 24},
    },
    "noise": {},
    "pix2pix": {"width_of_network": 4},
    "vae": {"widths": [32]},
    "vqvae": {"width_of_network": 16, "codes": 16},
    "vqvae-prior": {"width_of_network": 16, "layers": 1},
    "wgan-gp": {"width_of_network": 8},
}


WISHES = (None, {"class": 3})


@pytest.mark.parametrize("name", registry.names())
def test_every_family_keeps_what_the_engine_expects(name: str) -> None:
    found = list(conformance.results(name, SMALL[name]))

    assert [result for result in found if not result["ok"]] == []
    assert len(found) >= 7


def test_a_vae_learns_bits_per_pixel_that_hold_on_unseen_digits() -> None:
    _, _, metrics = learned("vae", {}, 300)

    uniform = 4.09  # log2 of 17 levels
    assert metrics["validation_bits_per_dim"] < 2.3 < uniform
    assert metrics["validation_code_bits_per_dim"] > 0.03, "a code that costs nothing says nothing"


@pytest.mark.parametrize("wished", [3, "7"])
def test_a_flow_makes_the_digit_that_is_asked_for(few_flow: tuple[Recipe[Any], TrainState], wished: int | str) -> None:
    made = drawn(*few_flow, 64, {"class": wished})

    assert share_read_as(int(wished), made) > 0.8


@pytest.fixture(scope="module")
def few_flow() -> tuple[Recipe[Any], TrainState]:
    torch.set_num_threads(1)
    params = {"width_of_network": 16, "sampling_steps": 8, "guidance": 2.0}
    recipe, state, _ = learned("flow", params, 120)
    return recipe, state


def test_without_a_wish_a_flow_draws_all_classes_by_their_seeds(few_flow: tuple[Recipe[Any], TrainState]) -> None:
    recipe, state = few_flow

    free, three = drawn(recipe, state, 64), drawn(recipe, state, 64, {"class": "3"})

    same = (free == three).flatten(1).all(1)
    assert 0 < int(same.sum()) < 25, "those of which the seed drew a three anyway"


def test_a_class_that_the_model_does_not_know_is_refused(few_flow: tuple[Recipe[Any], TrainState]) -> None:
    with pytest.raises(BadRequest, match=r"cond\.class"):
        drawn(*few_flow, 1, {"class": "10"})
    with pytest.raises(BadRequest, match=r"cond\.clas\b"):
        drawn(*few_flow, 1, {"clas": "1"})


def test_a_model_without_classes_takes_no_condition() -> None:
    recipe = registry.find("flow").configured(
        SMALL["flow"] | {"classes": []}, facts_of(open_source({"source": "digits"}))
    )
    sampler = Sampler(recipe, models.served(recipe, recipe.build()), 4)

    assert recipe.conditions is None
    assert len(sampler.draw([1])) == 1
    with pytest.raises(BadRequest, match="takes no condition"):
        sampler.draw([1], [{"class": "1"}])


def test_a_condition_names_its_classes_and_takes_numbers_for_names() -> None:
    schema = condition_on(("0", "1"))

    assert schema.model_validate({"class": 1}).class_ == "1"
    assert schema.model_validate({}).class_ is None
    assert schema.model_json_schema(by_alias=True)["properties"]["class"]["anyOf"][0]["enum"] == ["0", "1"]


def test_data_of_another_modality_is_refused() -> None:
    with pytest.raises(ValueError, match="learns from image data, and this is text"):
        registry.find("vae").configured({}, DataFacts("text"))


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("", "cat"), "class of the data has a name of 0 characters"),
        (tuple(map(str, range(10_001))), "data has 10,001 classes, and a model knows at most 10,000"),
    ],
)
def test_classes_that_a_model_cannot_know_are_told_in_the_words_of_the_data(
    classes: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        registry.find("flow").configured({}, DataFacts(shape=ItemShape(8, 8, 1), classes=classes))


def test_classes_that_are_not_the_datas_are_refused() -> None:
    with pytest.raises(ValueError, match=r"params\.classes"):
        registry.find("flow").configured({"classes": ["a"]}, facts_of(open_source({"source": "digits"})))


@pytest.mark.parametrize("side", [(8, 8), (7, 5), (28, 28)])
def test_a_unet_takes_pictures_of_any_size(side: tuple[int, int]) -> None:
    net = UNet(3, 8, 3, 2)

    out = net(torch.randn(2, 3, *side), torch.tensor([0.1, 0.9]), torch.tensor([0, 1]))

    assert out.shape == (2, 3, *side)


def test_a_shards_files_and_manifest_tell_what_each_item_was_wished_to_be(
    few_flow: tuple[Recipe[Any], TrainState], tmp_path: Path
) -> None:
    recipe, state = few_flow
    sampler = Sampler(recipe, models.served(recipe, state.modules), recipe.tile)
    lineage = dict.fromkeys(("job", "model", "model_digest", "data_digest", "recipe", "code_version"), "x")
    common = {"tenant": "default", "job_id": "j_abc", "run": 1, "claim": 1, "start": 0, "count": 2, "seed": 7}
    orders = [common | {"format": "png", "lineage": lineage, "shard": n, "cond": cond} for n, cond in enumerate(WISHES)]
    together = drawn_together(orders, sampler)

    written = []
    for order in orders:
        folder = tmp_path / str(order["shard"])
        folder.mkdir()
        assert write_shard(order, sampler, folder, lambda: False, together[claim_key(order)])
        written.append([json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()])

    assert [[line["cond"] for line in lines] for lines in written] == [[{"class": None}] * 2, [{"class": "3"}] * 2]
    alone = sampler.draw([item_seed(7, i) for i in range(2)], [{"class": 3}] * 2)
    assert [line["files"][0]["payload_sha256"] for line in written[1]] == [payload_sha256(p) for p in alone]
    with Image.open(tmp_path / "1" / "000000.png") as picture:
        assert json.loads(picture.text["genctl"])["cond"] == {"class": "3"}
