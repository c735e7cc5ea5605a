"""VQ-VAE and its prior: the codebook, what both learn of real digits, and the way from one stage to the next."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from learning import Learned, as_first_stage, drawn, learned, share_read_as
from torch import nn

from genplatform.store import Store
from genworkers import models
from genworkers.recipes import registry
from genworkers.recipes.base import DataFacts, FirstStage, ItemShape
from genworkers.recipes.codebook import Codebook
from genworkers.recipes.squeezing import sides
from genworkers.recipes.transformer import CodeTransformer, Past
from genworkers.recipes.vqvae import drawn as drawn_by_shares
from genworkers.training.actor import RunActor

DIGITS = DataFacts(shape=ItemShape(8, 8, 1), classes=tuple(map(str, range(10))))


@pytest.fixture(scope="module")
def vqvae() -> Learned:
    torch.set_num_threads(1)
    return learned("vqvae", {}, 250)


@pytest.fixture(scope="module")
def prior(vqvae: Learned) -> Learned:
    return learned("vqvae-prior", {}, 200, as_first_stage(vqvae))


def test_a_vqvae_makes_unseen_digits_anew_and_uses_its_codes(vqvae: Learned) -> None:
    _, _, metrics = vqvae

    assert metrics["validation_mse"] < 0.075 * 0.566, "of the pixels' variance around their one mean"
    assert metrics["validation_unexplained_variance"] < 0.15, "of that around the mean picture"
    assert metrics["validation_perplexity"] > 20, "of 64 codes"


def test_a_prior_expects_unseen_codes_far_better_than_their_frequency(prior: Learned) -> None:
    _, _, metrics = prior

    perplexity = math.exp(metrics["validation_nats_per_code"])
    unigram = math.exp(metrics["validation_unigram_nats_per_code"])
    assert perplexity < unigram / 2


def test_a_prior_makes_the_digit_that_is_asked_for(prior: Learned) -> None:
    recipe, state, _ = prior

    assert min(share_read_as(digit, drawn(recipe, state, 64, {"class": digit})) for digit in (0, 3, 7)) > 0.4


def test_what_is_frozen_of_the_first_stage_stays_as_it_was(vqvae: Learned, prior: Learned) -> None:
    first, state = vqvae[1].modules.state_dict(), prior[1].modules.state_dict()

    shared = [name for name in state if name in first]

    assert {name.split(".")[0] for name in shared} == {"encoder", "codebook", "decoder"}
    assert [name for name in shared if not torch.equal(first[name], state[name])] == []


PLACES = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [5.0, 5.0]])


def test_codes_come_to_the_means_of_what_they_stood_for() -> None:
    book, generator = Codebook(4, 2, 1), torch.Generator().manual_seed(0)
    book.vectors.copy_(PLACES + 0.3)
    for _ in range(60):
        rows = PLACES[torch.randint(4, (64, 1), generator=generator)]
        book.learn(rows, book.nearest(rows), 0.8)

    assert torch.allclose(book.vectors, PLACES, atol=1e-3)
    assert float(book.perplexity(book.nearest(PLACES))) == pytest.approx(4)
    assert torch.allclose(book.shares, torch.full((1, 4), 0.25), atol=0.1)


def test_a_code_that_is_not_used_any_more_begins_anew_where_there_is_something() -> None:
    book, generator = Codebook(4, 2, 1), torch.Generator().manual_seed(0)
    book.vectors.copy_(PLACES)
    book.counts.copy_(torch.tensor([16.0, 16.0, 16.0, 0.01]))
    before = book.vectors.clone()

    book.revive(PLACES[:3].repeat(20, 1)[:, None], generator)

    assert torch.equal(book.vectors[:3], before[:3])
    assert float(torch.cdist(book.vectors[3:], PLACES[:3]).min()) == 0
    assert float(book.counts[3]) == 15


def test_numbers_are_drawn_as_often_as_their_shares_and_none_that_has_none() -> None:
    shares = torch.tensor([0.0, 0.25, 0.75, 0.0], dtype=torch.float64)
    chances = torch.linspace(0, 1, 1001, dtype=torch.float64)[:-1, None]

    numbers = drawn_by_shares(shares.expand(1000, 4), chances)

    counts = torch.bincount(numbers, minlength=4)
    assert (counts - torch.tensor([0, 250, 750, 0])).abs().max() <= 1
    assert (counts[0], counts[3]) == (0, 0)


@pytest.mark.parametrize(
    ("side", "grid"), [((8, 8), (4, 4)), ((28, 28), (7, 7)), ((32, 32), (8, 8)), ((7, 15), (4, 8))]
)
def test_any_size_goes_down_to_a_small_grid_and_back(side: tuple[int, int], grid: tuple[int, int]) -> None:
    recipe: Any = registry.find("vqvae").configured({"width_of_network": 16}, DataFacts(shape=ItemShape(*side, 3)))
    modules = recipe.build()

    numbers = recipe.numbers(modules, torch.randn(2, 3, *side))

    assert sides(*side)[-1] == grid
    assert numbers.shape == (2, grid[0] * grid[1])
    assert recipe.pictures(modules, numbers).shape == (2, 3, *side)


def test_a_place_alone_is_scored_as_it_is_among_all() -> None:
    torch.manual_seed(0)
    network = CodeTransformer(5, 6, 3, 16, 2, 8, 0.0).eval()
    numbers, classes = torch.randint(5, (4, 6)), torch.tensor([0, 1, 2, 0])

    whole = network(numbers, classes)
    before, past, alone = classes, Past(), []
    for place in range(6):
        scores, past = network.ahead(place, before, past)
        before = numbers[:, place]
        alone.append(scores)

    assert torch.allclose(whole, torch.stack(alone, 1), atol=1e-5)


@pytest.mark.parametrize(
    ("data", "first", "message"),
    [
        (DIGITS, None, "builds on a model of the recipe vqvae, and the job's first_stage names none"),
        (DIGITS, "gan", "first_stage is of gan"),
        (
            DIGITS._replace(shape=ItemShape(9, 8, 1)),
            "vqvae",
            "makes pictures of 8x8 with 1 channels, and the data's are 9x8",
        ),
    ],
)
def test_a_prior_wants_a_vqvae_of_pictures_like_its_own(data: DataFacts, first: str | None, message: str) -> None:
    stage = None
    if first is not None:
        stage = FirstStage("0" * 64, registry.find(first).configured({}, DIGITS), nn.ModuleDict())

    with pytest.raises(ValueError, match=message):
        registry.find("vqvae-prior").configured({}, data, stage)


def test_a_recipe_of_one_stage_takes_no_first_stage() -> None:
    stage = FirstStage("0" * 64, registry.find("vqvae").configured({}, DIGITS), nn.ModuleDict())

    with pytest.raises(ValueError, match="builds on no first stage"):
        registry.find("gan").configured({}, DIGITS, stage)


Platform = Any  # conftest.FakePlatform, which an importlib-mode test cannot import


def published(order: dict[str, Any], platform: Platform) -> dict[str, Any]:
    actor = RunActor(order)
    actor.start()
    assert actor.join() == "published"
    model: dict[str, Any] = platform.bodies("/publish")[-1]["model"]
    return model


def test_a_published_prior_says_what_it_was_built_on_and_draws_by_itself(
    platform: Platform, store: Store, run_order: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    small = {"width_of_network": 16, "codes": 8}
    order = run_order(platform.url, recipe="vqvae", params=small, budget={"steps": 3}, publish="vq")
    named = published(order, platform) | {"name": "vq", "version": 3}
    params = {"width_of_network": 16, "layers": 1}
    prior = published(
        run_order(
            platform.url, job_id="j_abd", recipe="vqvae-prior", params=params, budget={"steps": 3}, first_stage=named
        ),
        platform,
    )

    store.remove(named["key"])
    loaded = models.load(store, prior | {"name": "p", "version": 1}, tmp_path)

    card = json.loads(store.read_bytes(f"{prior['key']}/card.json"))
    assert card["first_stage"] == {"model": "vq@3", "digest": named["digest"]}
    assert prior["config"]["first_stage"] == {"digest": named["digest"], "config": named["config"]}
    assert loaded.sampler.draw([1], [{"class": "3"}])[0].shape == (8, 8, 1)
