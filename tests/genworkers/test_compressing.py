"""Compressed versions: weights that are close and smaller, files that say how they are read, a job and its card."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from notebook import Notebook, train
from safetensors.torch import load_file, save_file
from torch import nn

from genplatform.domain import layout
from genplatform.engine.loading import load
from genplatform.engine.seam import COMPRESS_ACTOR
from genplatform.errors import BadRequest
from genplatform.spec.compress import METHODS
from genplatform.store import Store
from genworkers import models
from genworkers.compressing import speed, weights
from genworkers.compressing.actor import CompressActor
from genworkers.compressing.making import make, told
from genworkers.judging import features
from genworkers.judging.report import Asked, judge
from genworkers.judging.subjects import subject_of
from genworkers.recipes import registry
from genworkers.recipes.base import DataFacts, ItemShape
from genworkers.training.publish import publish_model

Platform = Any  # conftest.FakePlatform, which an importlib-mode test cannot import
Order = Callable[..., dict[str, Any]]

DIGITS = DataFacts(shape=ItemShape(8, 8, 1))


def networks() -> nn.ModuleDict:
    torch.manual_seed(0)
    inside = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ConvTranspose2d(8, 4, 3), nn.Linear(5, 7), nn.LayerNorm(7)
    )
    return nn.ModuleDict({"net": inside, "names": nn.Embedding(9, 4)})


def test_the_methods_that_a_job_may_name_are_those_there_are() -> None:
    assert set(METHODS) == set(weights.METHODS)


def test_int8_is_within_half_a_step_of_each_channels_own_scale(tmp_path: Path) -> None:
    modules = networks()
    with torch.no_grad():
        modules["net"][3].weight[2] *= 1000  # one loud channel must not make the others coarse

    weights.write(weights.compress(modules, "int8").tensors, "int8", tmp_path / "w")
    read = weights.read(tmp_path / "w")

    assert read.keys() == modules.state_dict().keys()
    for name, channel in (("net.0.weight", 0), ("net.2.weight", 1), ("net.3.weight", 0), ("names.weight", 0)):
        was = modules.state_dict()[name].transpose(0, channel).flatten(1)
        off = (read[name].transpose(0, channel).flatten(1) - was).abs().amax(1)
        step = was.abs().amax(1) / 127
        assert bool((off <= step * 0.501).all()), name
        assert bool((off > 0).any()), name
    for name in ("net.0.bias", "net.1.running_var", "net.4.weight", "net.1.num_batches_tracked"):
        assert torch.equal(read[name], modules.state_dict()[name]), name


def test_a_network_that_calls_its_weights_otherwise_in_its_state_is_made_smaller_too() -> None:
    network = nn.Sequential(nn.Linear(6, 5))
    network.register_state_dict_post_hook(
        lambda module, state, prefix, about: state.update({f"{prefix}own": state.pop(f"{prefix}0.weight")})
    )

    packed = weights.compress(nn.ModuleDict({"net": network}), "int8")

    assert packed.tensors["net.own"].dtype is torch.int8
    assert packed.left == ("net.0.bias",)


def test_the_platform_names_the_actor_as_it_is_called() -> None:
    assert load(COMPRESS_ACTOR) is CompressActor


def test_a_channel_of_zeros_stays_one() -> None:
    number, scale = weights.quantised(torch.zeros(3, 4), 0)

    assert torch.equal(number.float() * scale, torch.zeros(3, 4))


def test_bf16_takes_parameters_and_leaves_statistics(tmp_path: Path) -> None:
    modules = networks()

    weights.write(weights.compress(modules, "bf16").tensors, "bf16", tmp_path / "w")

    lying, read = load_file(tmp_path / "w"), weights.read(tmp_path / "w")
    assert lying["net.4.weight"].dtype is torch.bfloat16
    assert lying["net.1.running_var"].dtype is torch.float32
    assert torch.equal(read["net.3.weight"], modules["net"][3].weight.bfloat16().float())


@pytest.mark.parametrize(("recipe", "least"), [("gan", 0.3), ("flow", 0.3)])
def test_int8_is_about_a_quarter_of_a_family(tmp_path: Path, recipe: str, least: float) -> None:
    made = registry.find(recipe).configured({}, DIGITS)
    modules = models.served(made, made.build())
    models.write_weights(made, modules, tmp_path / "whole")

    for method in weights.METHODS:
        weights.write(weights.compress(modules, method).tensors, method, tmp_path / method)

    whole, int8, bf16 = ((tmp_path / name).stat().st_size for name in ("whole", "int8", "bf16"))
    assert int8 < least * whole
    assert bf16 < 0.6 * whole


def test_int8_takes_the_linear_layers_of_gpt2_by_their_outputs() -> None:
    from transformers.pytorch_utils import Conv1D

    torch.manual_seed(0)
    layer = Conv1D(5, 30)  # 30 inputs

    packed = weights.compress(nn.ModuleDict({"net": layer}), "int8")

    assert packed.left == ("net.bias",)
    assert packed.tensors["net.weight"].dtype is torch.int8
    assert packed.tensors["net.weight" + weights.SCALE].shape == (1, 5)


def test_one_that_must_be_told_what_to_draw_is_published_without_its_speed(
    platform: Platform, compress_order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(sampler: Any, round_: int) -> int:
        raise BadRequest("cond.source: Field required.")

    monkeypatch.setattr(speed, "_drawn", refusing)
    actor = CompressActor(compress_order())
    actor.start()

    assert actor.join() == "published"

    model = platform.bodies("/publish")[-1]["model"]
    assert (model["card"]["compression"]["speed"], set(model["metrics"])) == (None, {"size_ratio"})
    assert "Its speed was not measured: cond.source: Field required." in platform.logs


@pytest.mark.parametrize("method", weights.METHODS)
def test_what_cannot_be_made_smaller_is_refused(method: str) -> None:
    with pytest.raises(BadRequest, match="would change nothing"):
        weights.compress(nn.ModuleDict({"net": nn.Flatten()}), method)
    diverged = nn.ModuleDict({"net": nn.Linear(2, 2)})
    nn.init.constant_(diverged["net"].weight, float("nan"))
    with pytest.raises(BadRequest, match=r"net\.weight is not finite"):
        weights.compress(diverged, method)


def test_a_file_of_a_way_that_is_not_known_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "w", metadata={weights.HEADER: "int2"})

    with pytest.raises(BadRequest, match="'int2'"):
        weights.read(tmp_path / "w")


class Ticking:
    """A clock that a sampler moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Stand:
    """A sampler that takes a stated time for a tile, and longer from tile to tile."""

    tile = 8
    recipe = registry.find("noise")

    def __init__(self, clock: Ticking, seconds: float) -> None:
        self.clock, self.seconds = clock, seconds

    def told(self, seeds: list[int]) -> list[tuple[None, dict[str, Any]]]:
        self.clock.now += self.seconds * (1 + self.clock.now / 100)
        return [(None, {}) for _ in seeds]


def test_speed_is_the_ratio_of_pairs_on_one_machine_that_slows_down() -> None:
    clock = Ticking()

    found = speed.paired(Stand(clock, 1.0), Stand(clock, 0.5), clock, seconds=30.0)

    assert found["unit"] == "samples a second"
    assert found["pairs"] >= speed.FEWEST_PAIRS
    assert 1.9 < found["low"] <= found["ratio"] <= found["high"] < 2.1
    assert found["parent"] < found["value"]


@pytest.fixture(scope="module")
def lying(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict[str, Any]]:
    """A store, and a small published model in it, as an order names it."""
    place = tmp_path_factory.mktemp("lying")
    store = Store((place / "store").as_uri())
    order = {"tenant": "default", "recipe": "gan", "data": {"source": "digits"}, "seed": 0}
    model = publish_model(store, "default", order, train(Notebook(place), steps=5), place)["model"]
    return store, {**model, "name": "digits-gan", "version": 1, "code_version": "0"}


@pytest.fixture
def compress_order(
    platform: Platform, run_order: Order, lying: tuple[Store, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> Order:
    """Make a CompressActor's order of that model; it is measured and judged quickly."""
    monkeypatch.setattr(features, "STEPS", 5)
    monkeypatch.setattr(speed, "SECONDS", 0.0)
    store, model = lying
    asked = {"data": None, "split": None, "metrics": [], "samples": 64, "seed": 3, "folders": [], "method": "int8"}
    return lambda **changes: run_order(platform.url) | {"model": model, "store_url": store.url} | asked | changes


def test_a_smaller_version_is_published_measured_beside_its_parent(
    platform: Platform, compress_order: Order, lying: tuple[Store, dict[str, Any]], tmp_path: Path
) -> None:
    store, parent = lying
    order = compress_order()
    actor = CompressActor(order)
    actor.start()

    assert actor.join() == "published"

    model = platform.bodies("/publish")[-1]["model"]
    card, found, told = model["card"], model["evaluation"], model["card"]["compression"]
    assert card["parent"] == {"model": "digits-gan@1", "digest": parent["digest"]}
    assert (card["data_digest"], card["steps"]) == (parent["data_digest"], 5)
    assert (told["method"], told["computed_in"]) == ("int8", "fp32")
    assert told["size"]["ratio"] == told["size"]["value"] / told["size"]["parent"] < 0.7
    assert told["speed"]["low"] <= told["speed"]["ratio"] <= told["speed"]["high"]
    # The parent stands in the judgement as it would be found by itself, with the same features and seeds.
    one = models.load(store, parent, tmp_path)
    alone = judge(subject_of(one, order, print), Asked(64, 3))
    for name, metric in found["metrics"].items():
        assert metric["anchors"]["parent"] == alone["metrics"][name]["value"]
        both = {"value": metric["value"], "parent": metric["anchors"]["parent"], "better": metric["better"]}
        assert told["quality"]["metrics"][name] == both
    assert found["feature_space"]["digest"] == alone["feature_space"]["digest"] == told["quality"]["feature_space"]
    assert found["metrics"]["frechet_distance"]["value"] != alone["metrics"]["frechet_distance"]["value"]
    # What lies in the store is whole, is loaded by its own digest alone, and draws nearly what its parent draws.
    files = store.list(model["key"])
    assert sorted(name.rpartition("/")[2] for name in files) == sorted([layout.CARD, layout.CONFIG, layout.WEIGHTS])
    assert model["size"] == sum(store.measure(name).size for name in files)
    smaller = {**model, "name": "digits-gan", "version": 2}
    drawn = [np.array(m.sampler.draw(range(64)), float) for m in (one, models.load(store, smaller, tmp_path))]
    assert 0 < np.abs(drawn[0] - drawn[1]).mean() < 3  # of 255 levels
    with pytest.raises(BadRequest, match="is not what was published"):
        models.load(store, smaller | {"digest": parent["digest"]}, tmp_path)


def test_compressed_again_it_has_the_same_digest_and_a_compressed_one_is_refused(
    compress_order: Order, lying: tuple[Store, dict[str, Any]], tmp_path: Path
) -> None:
    store, parent = lying
    folders = [tmp_path / name for name in ("fetched", "one", "other", "third")]
    for folder in folders:
        folder.mkdir()
    loaded = models.load(store, parent, folders[0])

    one, other = (make(store, compress_order(), loaded, folders[0], folder) for folder in folders[1:3])

    assert one.digest == other.digest != parent["digest"]
    # Of a version of adapters, whose card counts these alone, all that is published is counted.
    card = told(compress_order(), replace(loaded, card={**loaded.card, "parameters": 7}), one, None, None)["card"]
    assert card["parameters"] == loaded.card["parameters"]
    packed = replace(loaded, card={**loaded.card, "compression": one.about, "parent": {"model": "digits-gan@1"}})
    with pytest.raises(BadRequest, match=r"is compressed already \(int8\)") as refused:
        make(store, compress_order(), packed, folders[0], folders[3])
    assert "digits-gan@1" in refused.value.hint


def test_one_that_cannot_be_judged_is_published_without_a_judgement(platform: Platform, compress_order: Order) -> None:
    actor = CompressActor(compress_order(metrics=["bits_per_dim"], method="bf16"))
    actor.start()

    assert actor.join() == "published"

    model = platform.bodies("/publish")[-1]["model"]
    assert (model["evaluation"], model["card"]["compression"]["quality"]) == (None, None)
    assert "It was not judged" in platform.logs


@pytest.mark.parametrize(("reason", "end"), [("pause", "released"), ("cancel", "cancelled")])
def test_a_compression_that_is_asked_to_stop_lets_go(
    platform: Platform, compress_order: Order, reason: str, end: str
) -> None:
    actor = CompressActor(compress_order())
    actor.stop(reason)
    actor.start()

    assert actor.join() == end

    assert platform.bodies("/publish") == []
