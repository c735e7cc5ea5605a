"""Recipes: what they promise to the engine, whatever the family."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from genworkers.data.sources import open_source
from genworkers.models import model_digest
from genworkers.recipes import describe, registry
from genworkers.recipes.base import Conditions, DataFacts, ItemShape, Recipe
from genworkers.recipes.gan import Gan
from genworkers.recipes.noise import Noise
from genworkers.recipes.randomness import byte_rows, normal_rows
from genworkers.sampler import Sampler
from genworkers.training.state import EngineStep, TrainState

DATA = DataFacts(shape=ItemShape(8, 8, 1))
SEEDS = [7, 2**62 + 5, 0, 123456789, 2**63 - 1, *range(100, 195)]


def sampler(name: str, tile: int = 64) -> Sampler:
    recipe = registry.find(name).configured({}, DATA if name == "gan" else None)
    torch.manual_seed(0)
    return Sampler(recipe, recipe.build(), tile)


def test_the_description_the_platform_reads_is_in_step_with_the_recipes() -> None:
    written = describe.BUILTIN.read_text(encoding="utf-8")

    assert written == describe.builtin(), "run: python -m genworkers.recipes.describe"
    assert [r["name"] for r in json.loads(written)["recipes"]] == sorted(registry.BUILTIN)


# What these configs and networks came to before they shared a base: published models keep their digests.
BEFORE = {
    "flow": ("29ce76215e40ea8f5bce8ef83c671cd42aa7e850316d4cb7799ec8dfbc25da4a", "666cc145f690224c"),
    "gan": ("3dd6e8744eb39d7412057f824f819ede8150b47300061b3508bff1a79c5e0f6c", "a7da6a1665abdc92"),
    "vae": ("dec6f0f54a9db5522542322c215818a2e94537439ba54d3a67fce5608a0c122a", "9937b04799d4e373"),
}


@pytest.mark.parametrize("name", BEFORE)
def test_the_digest_and_the_weights_names_of_a_model_are_what_they_always_were(name: str) -> None:
    recipe = registry.find(name).configured({}, DATA._replace(classes=("a", "b")))

    digest = model_digest(name, recipe.config.model_dump(mode="json"), "0" * 64)

    names = hashlib.sha256("\n".join(sorted(recipe.build().state_dict())).encode()).hexdigest()
    assert (digest, names[:16]) == BEFORE[name]


@pytest.mark.parametrize("name", ["gna", "genworkers.recipes.gan:Gan", "os:system", "", "../gan"])
def test_a_name_that_is_not_installed_is_refused_and_never_imported(name: str) -> None:
    with pytest.raises(registry.UnknownRecipe):
        registry.find(name)


def test_a_misspelt_recipe_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(registry.UnknownRecipe, match="Did you mean 'noise'"):
        registry.find("noize")


@pytest.mark.parametrize("name", ["gan", "noise"])
def test_an_item_is_bit_equal_whatever_it_is_drawn_with(name: str) -> None:
    draws = sampler(name)
    whole = draws.draw(SEEDS)

    alone = [draws.draw([seed])[0] for seed in SEEDS]
    backwards = draws.draw(SEEDS[::-1])[::-1]
    ragged = draws.draw(SEEDS[:3]) + draws.draw(SEEDS[3:68]) + draws.draw(SEEDS[68:])

    for other in (alone, backwards, ragged):
        assert all(np.array_equal(a, b) for a, b in zip(whole, other, strict=True))


def test_every_forward_pass_has_the_tiles_rows_whatever_is_asked_for() -> None:
    passes: list[int] = []

    class Counted(Noise):
        def sample(self, modules: nn.ModuleDict, seeds: torch.Tensor, cond: Conditions) -> torch.Tensor:
            passes.append(len(seeds))
            assert cond is None or len(cond) == len(seeds)
            return super().sample(modules, seeds, cond)

    draws = Sampler(Counted.configured({}), nn.ModuleDict(), 16)

    counts = [len(draws.draw(range(n), [None] * n)) for n in (1, 16, 17, 50)]

    assert counts == [1, 16, 17, 50]
    assert passes == [16] * (1 + 1 + 2 + 4)


def test_the_networks_output_itself_is_bit_equal_at_every_place_of_a_tile() -> None:
    draws = sampler("gan")
    ahead = torch.arange(64)
    first = draws.recipe.sample(draws.modules, ahead, None)

    for shift in range(1, 64):
        turned = draws.recipe.sample(draws.modules, ahead.roll(shift), None)
        assert torch.equal(turned.roll(-shift, 0), first)


def test_other_seeds_make_other_items_also_where_only_the_high_bits_differ() -> None:
    pictures = sampler("noise").draw([5, 5 + 2**32, 5 + 2**62])

    assert len({p.tobytes() for p in pictures}) == 3


def test_noise_uses_every_level_of_grey_alike() -> None:
    pixels = np.stack(sampler("noise").draw(range(2000)))

    counts = np.bincount(pixels.ravel(), minlength=256)
    assert pixels.shape == (2000, 8, 8, 1)
    assert counts.min() > 350, "128,000 pixels over 256 levels are 500 each"
    assert counts.max() < 650


def test_normal_rows_are_normal_and_streams_are_independent() -> None:
    one = normal_rows(torch.arange(500), (100,))
    two = normal_rows(torch.arange(500), (100,), stream=1)

    assert one.mean().abs() < 0.02
    assert (one.std() - 1).abs() < 0.02
    assert (one * two).mean().abs() < 0.02
    assert byte_rows(torch.tensor([3]), (2, 4)).shape == (1, 2, 4)


def test_a_gan_takes_its_sizes_from_the_data() -> None:
    recipe = Gan.configured({"latent_dim": 5}, DataFacts(shape=ItemShape(6, 4, 3)))

    made = recipe.sample(recipe.build(), torch.tensor([1, 2]), None)

    assert made.shape == (2, 3, 6, 4)
    assert [p.shape for p in recipe.payloads(made)] == [(6, 4, 3), (6, 4, 3)]


def test_a_size_that_is_not_the_datas_is_refused() -> None:
    with pytest.raises(ValueError, match=r"params\.height is 9, but the data's pictures have 8"):
        Gan.configured({"height": 9}, DATA)


@pytest.mark.parametrize(
    "params",
    [{"latent": 100}, {"latent_dim": 0}, {"generator_widths": [-1]}, {"dropout": 1.0}, {"learning_rate": "fast"}],
)
def test_parameters_the_schema_does_not_know_are_refused(params: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Gan.configured(params, DATA)


def test_the_default_gan_is_the_one_of_the_articles() -> None:
    recipe = Gan.configured({}, DATA)

    shapes = {n: [tuple(p.shape) for p in m.parameters() if p.dim() == 2] for n, m in recipe.build().items()}

    assert shapes["generator"] == [(256, 100), (512, 256), (64, 512)]
    assert shapes["discriminator"] == [(256, 64), (1, 256)]
    assert shapes["ema"] == shapes["generator"]


def trained(recipe: Recipe, steps: int) -> TrainState:
    state = TrainState.fresh(recipe, seed=3)
    engine = EngineStep(state, seed=3, rank=0)
    pictures = open_source({"source": "digits"}).pictures[:64]
    for step in range(steps):
        engine.begin(step)
        recipe.step({"x": pictures}, engine)
    return state


def test_a_step_moves_both_players_and_the_average_with_its_statistics() -> None:
    recipe = Gan.configured({}, DATA)
    before, after = trained(recipe, 0).modules.state_dict(), trained(recipe, 3).modules.state_dict()

    still = [name for name in before if torch.equal(before[name], after[name])]

    assert still == []


def test_the_generators_loss_does_not_reach_the_discriminator() -> None:
    recipe = Gan.configured({}, DATA)
    state = TrainState.fresh(recipe, seed=0)
    engine = EngineStep(state, seed=0, rank=0)
    engine.begin(0)
    critic = {n: p.clone() for n, p in state.modules["discriminator"].named_parameters()}

    made = state.modules["generator"](engine.noise("latent", (4, 100)))
    engine.optimize("generator", state.modules["discriminator"](made).mean())

    assert all(torch.equal(p, critic[n]) for n, p in state.modules["discriminator"].named_parameters())
    assert all(p.grad is None for p in state.modules.parameters())


def test_noise_has_nothing_to_train() -> None:
    assert Noise.trainable is False
    with pytest.raises(ValueError, match="cannot be trained"):
        Noise.configured({}).step({}, None)  # type: ignore[arg-type]
