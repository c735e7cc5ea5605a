"""Private trainings: what one item can move is bounded, noise hides it, and what is told of it all is on the card."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from notebook import Notebook, train, weights
from torch import Tensor, nn

from genplatform.errors import BadRequest
from genworkers import models
from genworkers.data.dataset import PairedPictures
from genworkers.recipes.base import (
    Batch,
    Conditions,
    DataFacts,
    FirstStage,
    ItemShape,
    Recipe,
    RecipeConfig,
    StepContext,
)
from genworkers.recipes.diffusion import Diffusion
from genworkers.recipes.flow import Flow
from genworkers.recipes.from_diffusers import Diffusers
from genworkers.recipes.vae import Vae
from genworkers.stop import SHUTDOWN
from genworkers.training import loop
from genworkers.training.actor import RunActor
from genworkers.training.gang import Gang
from genworkers.training.job import Optimization, Privacy, TrainJob
from genworkers.training.ledger import Ledger, epsilon_of, noise_for
from genworkers.training.private import METRIC, PoissonOrder, PrivateStep, begin, secret_seed
from genworkers.training.start import Start
from genworkers.training.state import EngineStep, TrainState

Order = Callable[..., dict[str, Any]]
Platform = Any  # conftest.FakePlatform, which an importlib-mode test cannot import

WISH = Privacy(epsilon=8.0, delta=1e-5, max_grad_norm=0.5)
VAE = {"widths": [16], "latent_dim": 4, "batch_size": 12}
SECRET = "5" * 64
DIGITS = DataFacts(shape=ItemShape(8, 8, 1))


class Pull(Recipe[RecipeConfig]):
    """Pulls 40,000 numbers towards each item's own, as hard as the item says."""

    name, summary, Config, privacy_obstacle = "pull", "Pulls.", RecipeConfig, ""
    calls = 1

    def build(self) -> nn.ModuleDict:
        return nn.ModuleDict({"net": nn.Linear(200, 200, bias=False), "norm": nn.BatchNorm1d(2)})

    def optimizers(self, modules: nn.ModuleDict) -> dict[str, torch.optim.Optimizer]:
        return {"net": torch.optim.SGD(modules["net"].parameters(), lr=1.0)}

    def step(self, batch: Batch, ctx: StepContext) -> dict[str, Tensor]:
        for _ in range(self.calls):
            loss = (ctx.modules["net"].weight * batch["x"].mean()).sum() / 200
            ctx.optimize("net", loss)
        return {"loss": loss.detach()}

    def sample(self, modules: nn.ModuleDict, seeds: Tensor, cond: Conditions) -> Tensor:
        raise NotImplementedError


class These(PoissonOrder):
    """Every step reads these items."""

    items: Tensor

    def batch(self, step: int, rank: int = 0, world_size: int = 1) -> Tensor:
        return self.items

    def is_empty(self, step: int) -> bool:
        return False


def private(
    recipe: Recipe[Any], noise: float, items: list[int], wish: Privacy = WISH, rate: float = 0.01
) -> tuple[TrainState, Any]:
    """Return a fresh state and its private steps on these items, of which 10 are to be expected."""
    state = TrainState.fresh(recipe, 0)
    state.privacy = Ledger(SECRET, noise, rate)
    job = TrainJob(recipe.name, {}, {}, None, 10, 5, 5, 5, privacy=wish)
    order = These(torch.arange(round(10 / rate)), rate, SECRET)
    order.items = torch.tensor(items)
    return state, PrivateStep(state, job, wish, order)


def moved(noise: float, items: list[float]) -> Tensor:
    """Return how far a step on these items moves each number."""
    recipe = Pull(RecipeConfig())
    state, engine = private(recipe, noise, list(range(len(items))))
    before = state.modules["net"].weight.detach().clone()
    engine.run(recipe, {"x": torch.tensor(items)[:, None]}, measures=False)
    return state.modules["net"].weight.detach() - before


def test_one_item_moves_a_step_by_the_bound_at_most_however_hard_it_pulls() -> None:
    others = [0.1, -0.2, 0.3]

    with_it = moved(0.0, [*others, 1e6])
    without = moved(0.0, others)

    assert float((with_it - without).norm()) == pytest.approx(WISH.max_grad_norm / 10, rel=1e-3)


def test_items_that_pull_softly_are_not_shortened() -> None:
    # A pull of 0.1 is a gradient of norm 0.1; all of them are below the bound of 0.5, and 10 are expected.
    assert float(moved(0.0, [0.1, 0.2, 0.3]).norm()) == pytest.approx(0.6 / 10, rel=1e-3)


def test_the_noise_is_as_large_as_it_is_said_to_be() -> None:
    only_noise = moved(2.0, [0.0])

    assert float(only_noise.std()) == pytest.approx(2.0 * WISH.max_grad_norm / 10, rel=0.02)
    assert abs(float(only_noise.mean())) < 0.002


def test_noise_is_drawn_anew_in_every_step_and_for_every_secret() -> None:
    recipe = Pull(RecipeConfig())
    state, engine = private(recipe, 1.0, [0])
    seen = []
    for step, secret in ((0, SECRET), (1, SECRET), (0, "6" * 64)):
        state.step, state.privacy.secret = step, secret  # type: ignore[union-attr]
        before = state.modules["net"].weight.detach().clone()
        engine.run(recipe, {"x": torch.zeros(1, 1)}, measures=False)
        seen.append((state.modules["net"].weight.detach() - before).flatten())

    assert torch.corrcoef(torch.stack(seen)).fill_diagonal_(0).abs().max() < 0.05


def test_an_item_whose_gradient_is_not_finite_counts_as_none() -> None:
    assert torch.equal(moved(0.0, [0.2, float("inf")]), moved(0.0, [0.2]))


SMALL = {"width_of_network": 8, "levels": 1, "batch_size": 10}


@pytest.mark.parametrize("family", [Vae, Flow, Diffusion, pytest.param(Diffusers, marks=pytest.mark.soak)])
def test_without_noise_and_bound_a_step_is_the_ordinary_one(
    family: type[Recipe[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is drawn is another matter: here all items of both get the same.
    monkeypatch.setattr(EngineStep, "_drawn", lambda step, stream, shape, draw: torch.full(tuple(shape), 0.4))
    usual = family.optimizers
    monkeypatch.setattr(  # whose step is as large as the gradient, where Adam's makes much of rounding
        family,
        "optimizers",
        lambda recipe, modules: {
            name: torch.optim.SGD(one.param_groups[0]["params"], lr=0.1) for name, one in usual(recipe, modules).items()
        },
    )
    params = VAE | {"dropout": 0.0} if family is Vae else SMALL
    recipe = family.configured(params, DIGITS._replace(classes=("a", "b")))
    torch.manual_seed(1)
    batch = {"x": torch.rand(10, 1, 8, 8) * 2 - 1, "label": torch.arange(10) % 2}
    ordinary = TrainState.fresh(recipe, 0)
    EngineStep(ordinary, 0, 0, Optimization(accumulation_steps=10)).run(recipe, batch, measures=False)

    state, engine = private(recipe, 0.0, list(range(10)), Privacy(8.0, 1e-5, max_grad_norm=1e9))
    told = engine.run(recipe, batch, measures=False)

    assert told == {}
    fresh = TrainState.fresh(recipe, 0).modules.state_dict()
    for name, tensor in ordinary.modules.state_dict().items():
        torch.testing.assert_close(state.modules.state_dict()[name], tensor, rtol=1e-3, atol=2e-5)
    assert any(not torch.equal(fresh[name], tensor) for name, tensor in state.modules.state_dict().items())


def test_an_item_before_the_others_leaves_what_they_give_as_it_is() -> None:
    recipe = Flow.configured(SMALL, DIGITS)
    torch.manual_seed(1)
    items, found = torch.rand(4, 1, 8, 8) * 2 - 1, []
    wish = Privacy(8.0, 1e-5, max_grad_norm=0.01)  # far below any of theirs: what one item gives is the bound whole
    for first in (0, 1):
        engine = private(recipe, 0.0, [3, 5, 8, 9][first:], wish)[1]
        moved_by: list[Tensor] = []
        engine._move = lambda name, gradients, scaler, kept=moved_by: kept.extend(gradients)
        engine.run(recipe, {"x": items[first:]}, measures=False)
        found.append(nn.utils.parameters_to_vector(moved_by))

    assert float((found[0] - found[1]).norm()) == pytest.approx(0.01 / 10, rel=1e-3)


def test_secrets_whose_seeds_agree_in_their_last_32_bits_draw_otherwise() -> None:
    seen: dict[int, str] = {}
    for secret in map(str, range(1_000_000)):  # a pair is found after about 80,000
        other = seen.setdefault(secret_seed(secret, 0, "sample") % 2**32, secret)
        if other != secret:
            break

    one, two = (PoissonOrder(torch.arange(1000), 0.5, name).batch(0) for name in (secret, other))

    assert secret != other
    assert not torch.equal(one, two)


def test_items_are_sampled_each_by_its_own_chance() -> None:
    order = PoissonOrder(torch.arange(1000), 0.05, SECRET)

    drawn = [order.batch(step) for step in range(400)]

    counts = torch.tensor([float(len(one)) for one in drawn])
    assert float(counts.mean()) == pytest.approx(50, rel=0.04)
    assert float(counts.var()) == pytest.approx(1000 * 0.05 * 0.95, rel=0.25)  # a fixed batch would have none
    often = torch.bincount(torch.cat(drawn), minlength=1000)
    assert 3 < int(often.min()) < 20 < int(often.max()) < 45
    assert torch.equal(order.batch(7), PoissonOrder(torch.arange(1000), 0.05, SECRET).batch(7))
    assert not torch.equal(order.batch(7), PoissonOrder(torch.arange(1000), 0.05, "6" * 64).batch(7))


def test_a_step_that_no_item_is_in_moves_by_noise_alone() -> None:
    recipe = Pull(RecipeConfig())
    state, engine = private(recipe, 0.0, [0])
    engine._sampled = PoissonOrder(torch.arange(5), 1e-9, SECRET)
    before = state.modules["net"].weight.detach().clone()

    engine.run(recipe, {"x": torch.full((1, 1), 1e6)}, measures=False)

    assert torch.equal(state.modules["net"].weight, before)
    assert len(engine._sampled.batch(0)) == 1


def test_a_recipe_that_moves_twice_is_refused() -> None:
    recipe = Pull(RecipeConfig())
    recipe.calls = 2
    _, engine = private(recipe, 1.0, [0, 1])

    with pytest.raises(BadRequest, match="more than once a step"):
        engine.run(recipe, {"x": torch.zeros(2, 1)}, measures=False)


def test_the_noise_keeps_the_budget_and_wastes_little_of_it() -> None:
    from opacus.accountants import RDPAccountant

    noise = noise_for(4.0, 1e-5, 0.02, 500)

    spent = epsilon_of(noise, 0.02, 500, 1e-5)
    oracle = RDPAccountant()
    oracle.history = [(noise, 0.02, 500)]
    assert oracle.get_epsilon(1e-5) <= spent < 1.01 * oracle.get_epsilon(1e-5)  # which looks at more orders
    assert 3.9 < spent <= 4.0
    assert 0 == epsilon_of(noise, 0.02, 0, 1e-5) < epsilon_of(noise, 0.02, 100, 1e-5) < spent
    with pytest.raises(BadRequest, match="No noise keeps"):
        noise_for(1e-9, 1e-9, 0.01, 1_000)


def test_without_its_package_a_private_training_says_how_it_is_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opacus.accountants.utils", None)

    with pytest.raises(ModuleNotFoundError, match="install genctl") as refused:
        noise_for(8.0, 1e-5, 0.01, 10)

    assert "genctl[privacy]" in str(refused.value)


def learn(notebook: Notebook, **changes: Any) -> loop.Trained:
    base = {"recipe": "vae", "params": VAE, "steps": 9, "checkpoint_every": 4, "privacy": WISH}
    return train(notebook, **base | {"secret": lambda: SECRET} | changes)


@pytest.mark.parametrize("stopped_at", [0, 6])
def test_a_private_training_goes_on_to_the_bit_with_what_it_has_spent(tmp_path: Path, stopped_at: int) -> None:
    straight = learn(Notebook(tmp_path))
    parted = Notebook(tmp_path)
    parted.stop_at = {stopped_at: SHUTDOWN}

    first = learn(parted)
    parted.stop_at = {}
    second = learn(parted, **({"secret": lambda: "7" * 64} if stopped_at else {}))  # a checkpoint has its own

    assert (first.stopped, first.state.step) == (SHUTDOWN, stopped_at)
    assert weights(second, tmp_path) == weights(straight, tmp_path)
    assert second.privacy == straight.privacy
    assert straight.privacy is not None
    assert straight.privacy["steps"] == 9


def test_what_is_told_of_a_private_training_is_its_budget_and_nothing_of_its_items(tmp_path: Path) -> None:
    notebook = Notebook(tmp_path)

    trained = learn(notebook)

    told = trained.privacy
    assert told is not None
    assert 7.8 < told["epsilon"] <= told["asked_epsilon"] == 8.0
    names = {name for _, values in notebook.points for name in values}
    assert names == {METRIC, "learning_rate", "gradient_norm", *(n for n in names if n.startswith("validation_"))}
    assert trained.metrics.keys() == {METRIC, *(n for n in names if n.startswith("validation_"))}
    spent = [values[METRIC] for _, values in notebook.points if METRIC in values]
    assert spent == sorted(spent)
    assert spent[-1] == told["epsilon"]
    assert SECRET not in repr((trained.privacy, trained.metrics, notebook.points, notebook.lines, notebook.events))
    assert any("Private: each item has a chance of 0.00955" in line for line in notebook.lines)


def test_nobody_who_knows_the_job_can_draw_its_noise_again(tmp_path: Path) -> None:
    one, other = (train(Notebook(tmp_path), recipe="vae", params=VAE, steps=2, privacy=WISH) for _ in range(2))

    assert weights(one, tmp_path) != weights(other, tmp_path)
    assert len({trained.state.privacy.secret for trained in (one, other)}) == 2  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"recipe": "gan", "params": {}}, "two networks learn against each other"),
        ({"optimization": Optimization(precision="fp16")}, "added up in fp32"),
        ({"optimization": Optimization(accumulation_steps=2)}, "item by item"),
        ({"optimization": Optimization(max_grad_norm=1.0)}, "shortens gradients already"),
        ({"privacy": Privacy(8.0, 0.01)}, "one could be told whole"),
        ({"params": VAE | {"batch_size": 5000}}, "5,000 items, and there are 1,257"),
    ],
)
def test_what_cannot_be_private_is_refused_before_its_first_step(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    notebook = Notebook(tmp_path)

    with pytest.raises(BadRequest, match=said):
        learn(notebook, **changes)

    assert notebook.points == []


def test_what_started_from_the_same_items_is_refused_and_of_others_said(tmp_path: Path) -> None:
    first = train(Notebook(tmp_path), recipe="vae", params=VAE, steps=1)
    served = models.served(first.recipe, first.state.modules)
    same, other = (Start(FirstStage("b" * 64, first.recipe, served, d)) for d in (first.dataset.digest, "d" * 64))

    with pytest.raises(BadRequest, match="`base` names has learned of the same items"):
        learn(Notebook(tmp_path), params={}, start=same)
    told = learn(Notebook(tmp_path), params={}, start=other, steps=1).privacy

    assert told is not None
    assert told["of"].endswith("; of this training alone, and not of what it started from")


def test_a_sheet_shows_no_pair_that_was_learned_of() -> None:
    pairs = PairedPictures("pairs", torch.zeros(4, 1, 8, 8), None, "d" * 64, torch.ones(4, 1, 8, 8))
    shown: list[int | None] = []
    for wish, validation in ((None, []), (WISH, [3]), (WISH, [])):
        here: Any = SimpleNamespace(
            dataset=pairs,
            job=TrainJob("pull", {}, {}, None, 10, 5, 5, 5, privacy=wish),
            validation=torch.tensor(validation, dtype=torch.int64),
            order=PoissonOrder(torch.arange(3), 0.5, SECRET),
        )
        found = loop._Loop._held_out(here)
        shown.append(None if found is None else len(found["source"]))

    assert shown == [3, 1, None]


@pytest.mark.parametrize("kept", ["buffer", "running"])
def test_what_is_kept_of_items_beside_the_gradient_is_refused(kept: str) -> None:
    class Counting(Pull):
        def build(self) -> nn.ModuleDict:
            made = super().build()
            made["net"].register_buffer("seen", torch.zeros(()))
            return made

        def step(self, batch: Batch, ctx: StepContext) -> dict[str, Tensor]:
            ctx.modules["net"].seen += batch["x"].sum()
            return super().step(batch, ctx)

    recipe = Counting(RecipeConfig())
    state, engine = private(recipe, 1.0, [0])
    if kept == "buffer":
        with pytest.raises(BadRequest, match=r"changed net\.seen in a step"):
            engine.run(recipe, {"x": torch.ones(1, 1)}, measures=False)
    else:
        state.modules["norm"] = nn.InstanceNorm1d(2, track_running_stats=True)
        job = TrainJob("pull", {}, {}, None, 10, 5, 5, 5, privacy=WISH)
        with pytest.raises(BadRequest, match="norm keeps running statistics"):
            begin(job, recipe, state, torch.arange(100), "d" * 64, Gang(0, 1))

    assert state.privacy is not None
    assert state.privacy.steps == 0


def test_batchnorm_is_refused_whatever_the_recipe_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = Vae.build
    monkeypatch.setattr(
        Vae, "build", lambda recipe: nn.ModuleDict({**build(recipe), "extra": nn.Sequential(nn.BatchNorm1d(3))})
    )

    with pytest.raises(BadRequest, match=r"extra\.0 is BatchNorm"):
        learn(Notebook(tmp_path))


def test_the_budget_that_was_spent_is_on_the_version(platform: Platform, run_order: Order) -> None:
    privacy = {"epsilon": 8.0, "delta": 1e-5, "max_grad_norm": 0.5}
    order = run_order(platform.url, recipe="vae", params=VAE, budget={"steps": 4}, privacy=privacy)
    actor = RunActor(order)
    actor.start()

    assert actor.join() == "published"

    model = platform.bodies("/publish")[-1]["model"]
    spent = model["card"]["privacy"]
    assert (spent["steps"], spent["delta"], spent["max_grad_norm"]) == (4, 1e-5, 0.5)
    assert 0 < spent["epsilon"] <= 8.0
    assert model["metrics"][METRIC] == spent["epsilon"]
    assert not [name for name in model["metrics"] if name != METRIC and not name.startswith("validation_")]
