"""The convolutional GANs: which sizes they make, by class, and that both learn what digits are like."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from learning import drawn, learned, share_read_as
from torch import nn

from genworkers.recipes import registry
from genworkers.recipes.base import DataFacts, ItemShape
from genworkers.recipes.convolutional import stack_of
from genworkers.recipes.wgan_gp import WganGp
from genworkers.training.state import EngineStep, TrainState

GANS = ("dcgan", "wgan-gp")


@pytest.mark.parametrize("name", GANS)
@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (6, 10, 4), (48, 64, 3)])
def test_pictures_of_any_size_that_doublings_make_are_trained_on_and_drawn(
    name: str, shape: tuple[int, int, int]
) -> None:
    data = DataFacts(shape=ItemShape(*shape), classes=("a", "b"))
    recipe = registry.find(name).configured({"width_of_network": 4, "batch_size": 4}, data)
    state = TrainState.fresh(recipe, 0)
    engine = EngineStep(state, 0, 0)
    engine.begin(0)
    rows = recipe.batch_size
    recipe.step({"x": torch.randn(rows, shape[2], *shape[:2]), "label": torch.arange(rows) % 2}, engine)

    made = recipe.sample(state.modules, torch.tensor([1, 2, 3]), None)

    assert made.shape == (3, shape[2], *shape[:2])
    assert made.abs().max() <= 1


@pytest.mark.parametrize(
    ("params", "shape", "message"),
    [
        (
            {},
            (27, 28, 1),
            "27 rows and 28 columns cannot be made of doublings.* Possible would be 28 rows and 28 columns",
        ),
        ({"doublings": 4}, (28, 28, 1), r"with params.doublings 4.* Possible would be 32 rows and 32 columns"),
        ({"doublings": 1}, (64, 64, 3), "a start of at most 16 rows.* would be 32 rows and 32 columns"),
        ({}, (250, 250, 3), "Possible would be 256 rows and 256 columns"),
    ],
)
def test_other_sizes_are_refused_before_anything_is_trained_with_the_nearest_that_goes(
    params: dict[str, Any], shape: tuple[int, int, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        registry.find("dcgan").configured(params, DataFacts(shape=ItemShape(*shape)))


@pytest.mark.parametrize("size", range(2, 400, 2))
def test_the_size_that_a_refusal_names_is_not_refused(size: int) -> None:
    try:
        stack = stack_of(size, size)
    except ValueError as refused:
        named = int(str(refused).split("Possible would be ")[1].split(" rows")[0])
        stack = stack_of(named, named)
        size = named

    assert stack.height << stack.doublings == size
    assert 1 <= stack.height <= 16


def test_the_default_dcgan_is_the_one_of_the_articles() -> None:
    recipe = registry.find("dcgan").configured({}, DataFacts(shape=ItemShape(32, 32, 3)))

    modules = recipe.build()

    layers = {name: [m for m in modules[name].modules() if hasattr(m, "weight")] for name in modules}
    up = [tuple(m.weight.shape) for m in layers["generator"] if isinstance(m, nn.ConvTranspose2d)]
    down = [tuple(m.weight.shape) for m in layers["discriminator"] if isinstance(m, nn.Conv2d)]
    assert up == [(256, 128, 4, 4), (128, 64, 4, 4), (64, 3, 4, 4)]
    assert down == [(64, 3, 4, 4), (128, 64, 4, 4), (256, 128, 4, 4)]
    norms = {name: sum(isinstance(m, nn.BatchNorm2d) for m in of) for name, of in layers.items()}
    assert (norms["generator"], norms["discriminator"]) == (3, 2), "none at the picture on either side"
    assert 0.015 < float(layers["generator"][1].weight.std()) < 0.025


def test_the_critic_of_a_wgan_has_no_batchnorm_so_that_rows_do_not_touch() -> None:
    recipe = WganGp.configured({"width_of_network": 8}, DataFacts(shape=ItemShape(8, 8, 1)))
    torch.manual_seed(0)
    critic = recipe.build()["discriminator"]
    rows, labels = torch.randn(4, 1, 8, 8), torch.zeros(4, dtype=torch.long)

    alone = torch.cat([critic(rows[i : i + 1], labels[:1]) for i in range(4)])

    assert torch.allclose(alone, critic(rows, labels), atol=1e-6)


def test_the_penalty_is_the_slopes_distance_from_one() -> None:
    class Slope(nn.Module):
        def forward(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return 3 * x.flatten(1)[:, 0]

    penalty = WganGp._penalty(Slope(), torch.randn(5, 1, 8, 8), torch.zeros(5, dtype=torch.long))

    assert float(penalty) == pytest.approx(4.0)


def test_a_wgan_moves_its_critic_on_other_pictures_each_time() -> None:
    recipe = WganGp.configured(
        {"width_of_network": 4, "n_critic": 3, "batch_size": 8}, DataFacts(shape=ItemShape(8, 8, 1))
    )
    state = TrainState.fresh(recipe, 0)
    engine = EngineStep(state, 0, 0)
    engine.begin(0)

    assert recipe.batch_size == 24
    recipe.step({"x": torch.randn(24, 1, 8, 8)}, engine)

    moves = {name: next(iter(adam.state.values()))["step"] for name, adam in state.optimizers.items()}
    assert {name: int(count) for name, count in moves.items()} == {"generator": 1, "discriminator": 3}


@pytest.fixture(scope="module")
def few_dcgan() -> Any:
    torch.set_num_threads(1)
    recipe, state, _ = learned("dcgan", {"width_of_network": 16, "learning_rate": 1e-3}, 200)
    return recipe, state


def test_a_dcgan_makes_the_digit_that_is_asked_for(few_dcgan: Any) -> None:
    shares = [share_read_as(digit, drawn(*few_dcgan, 64, {"class": digit})) for digit in (0, 3, 7)]

    assert min(shares) > 0.4
