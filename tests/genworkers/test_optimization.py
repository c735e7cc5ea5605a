"""How a training is optimised, when it ends, what of it is kept: and that a run that goes on does all of it alike."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from notebook import SMALL, Notebook, train, weights
from torch import Tensor, nn

from genplatform.errors import BadRequest, Unavailable
from genworkers.recipes.base import Batch, Recipe, RecipeConfig
from genworkers.recipes.gan import Gan
from genworkers.stop import SHUTDOWN
from genworkers.training import checkpoint, state
from genworkers.training import job as jobs
from genworkers.training.job import Optimization, Target
from genworkers.training.state import EngineStep, TrainState

FLOW = {"width_of_network": 8, "levels": 1, "batch_size": 16, "classes": []}
LOSS = "validation_d_loss"

EACH = {
    "as ever": Optimization(),
    "bf16": Optimization(precision="bf16"),
    "fp16": Optimization(precision="fp16"),
    "parts": Optimization(accumulation_steps=3),
    "clipped": Optimization(max_grad_norm=0.1),
    "cosine": Optimization(schedule="cosine", warmup_steps=10),
    "all": Optimization("fp16", 2, 0.5, "linear", 5, 0.1),
}


@pytest.mark.parametrize("how", EACH.values(), ids=EACH)
def test_a_run_stopped_on_the_way_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: Optimization
) -> None:
    monkeypatch.setattr(jobs, "MOST_POINTS", 8)  # so that the stop falls into the middle of a mean
    tracked = {"stopping": Target(LOSS), "patience": 9, "best": Target(LOSS), "evaluate_every": 10}
    whole, parted = Notebook(tmp_path), Notebook(tmp_path)
    straight = train(whole, optimization=how, **tracked)
    parted.stop_at = {33: SHUTDOWN}

    train(parted, optimization=how, **tracked)
    parted.stop_at = {}
    again = train(parted, optimization=how, **tracked)

    assert weights(again, tmp_path) == weights(straight, tmp_path)
    assert parted.points == whole.points
    # A checkpoint's digest covers every tensor, those of the optimizers too, the scalers, counters and metrics.
    assert parted.saved[0].sha256 == whole.saved[0].sha256
    assert parted.bests[0].sha256 == whole.bests[0].sha256


def test_each_way_makes_weights_of_its_own(tmp_path: Path) -> None:
    made = {name: weights(train(Notebook(tmp_path), steps=4, optimization=how), tmp_path) for name, how in EACH.items()}

    assert len(set(made.values())) == len(EACH)


def test_a_checkpoint_of_another_way_is_not_gone_on_from(tmp_path: Path) -> None:
    notebook = Notebook(tmp_path)
    train(notebook)

    train(notebook, optimization=EACH["clipped"])

    assert any("step 50 cannot be used: it belongs to" in line for line in notebook.lines)


@pytest.mark.parametrize("parts", [5, 16])
def test_a_batch_read_in_parts_makes_what_the_whole_one_makes_but_for_rounding(tmp_path: Path, parts: int) -> None:
    how = {"recipe": "flow", "params": FLOW, "steps": 6}
    whole = train(Notebook(tmp_path), **how)
    other = train(Notebook(tmp_path), **how, optimization=Optimization(accumulation_steps=parts))
    start = TrainState.fresh(whole.recipe, 0).modules

    for name in ("network", "ema"):  # the average follows once a step, however many parts a batch has
        moved = distance(whole.state.modules[name], start[name])
        assert distance(whole.state.modules[name], other.state.modules[name]) < moved / 20, name
    assert whole.state.metrics == pytest.approx(other.state.metrics, rel=1e-3)


@torch.no_grad()
def distance(one: nn.Module, other: nn.Module) -> float:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return float(torch.stack([(a - b).norm() for a, b in pairs]).norm())


def test_more_parts_than_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="A step reads 16 items, which cannot be read in 17 parts"):
        train(Notebook(tmp_path), optimization=Optimization(accumulation_steps=17))


def test_learning_rates_rise_and_fall_as_the_schedule_says() -> None:
    linear = Optimization(schedule="linear", warmup_steps=2, min_ratio=0.2)
    cosine = Optimization(schedule="cosine")

    assert [linear.ratio(step, 7) for step in range(7)] == pytest.approx([0.5, 1, 1, 0.8, 0.6, 0.4, 0.2])
    assert [cosine.ratio(step, 5) for step in range(5)] == pytest.approx([1, 0.853553, 0.5, 0.146447, 0], rel=1e-5)
    assert [Optimization(warmup_steps=4).ratio(step, 9) for step in (0, 3, 8)] == [0.25, 1, 1]
    assert Optimization().ratio(3, 9) == 1


def test_a_schedule_multiplies_each_optimizers_own_rate(tmp_path: Path) -> None:
    notebook = Notebook(tmp_path)

    train(notebook, params=SMALL | {"learning_rate": 1e-3}, optimization=Optimization(schedule="linear"))

    told = dict(point for point in notebook.points if "generator_learning_rate" in point[1])
    assert told[1]["generator_learning_rate"] == told[1]["discriminator_learning_rate"] == 1e-3
    assert told[50]["generator_learning_rate"] == 0
    assert told[25]["generator_learning_rate"] == pytest.approx(1e-3 * 25 / 49)


class Pair(Recipe[RecipeConfig]):
    """Two numbers, an optimizer each; what a step does is up to the test."""

    name, summary, Config = "pair", "Two numbers.", RecipeConfig

    def build(self) -> nn.ModuleDict:
        return nn.ModuleDict({name: nn.Linear(1, 1, bias=False) for name in ("one", "other")})

    def optimizers(self, modules: nn.ModuleDict) -> dict[str, torch.optim.Optimizer]:
        return {name: torch.optim.SGD(module.parameters(), lr=1.0) for name, module in modules.items()}

    def sample(self, modules: nn.ModuleDict, seeds: Tensor, cond: Any) -> Tensor:
        raise NotImplementedError


BATCH: Batch = {"x": torch.ones(1, 1)}


def pair(how: Optimization, step: Any) -> tuple[TrainState, EngineStep]:
    """Do one step of such a recipe, from weights of 2."""
    recipe = Pair(RecipeConfig())
    recipe.step = step  # type: ignore[method-assign]
    made = TrainState.fresh(recipe, 0)
    for module in made.modules.values():
        nn.init.constant_(module.weight, 2.0)
    engine = EngineStep(made, 0, 0, how, 10)
    engine.run(recipe, BATCH, measures=True)
    return made, engine


def weight(made: TrainState, name: str) -> float:
    return float(made.modules[name].weight)


def test_a_gradient_reaches_its_own_optimizer_alone_and_a_long_one_is_shortened() -> None:
    def step(batch: Batch, ctx: EngineStep) -> dict[str, Tensor]:
        ctx.optimize("one", 100 * ctx.modules["other"](ctx.modules["one"](batch["x"])).sum())
        return {}

    made, engine = pair(Optimization(max_grad_norm=0.5), step)

    assert (weight(made, "one"), weight(made, "other")) == (pytest.approx(1.5), 2.0)
    assert made.modules["other"].weight.grad is None
    assert engine.watched() == {
        "one_learning_rate": 1.0,
        "other_learning_rate": 1.0,
        "one_gradient_norm": pytest.approx(200.0),
    }


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_step_that_goes_on_after_a_move_sees_the_moved_weights(precision: str) -> None:
    seen: list[float] = []

    def step(batch: Batch, ctx: EngineStep) -> dict[str, Tensor]:
        out = ctx.modules["one"](batch["x"])
        seen.append(float(out))
        ctx.optimize("one", out.float().sum() / 8)
        seen.append(float(ctx.modules["one"](batch["x"])))
        assert out.dtype == state.DTYPES.get(precision, torch.float32)
        return {}

    pair(Optimization(precision=precision), step)

    assert seen == [2.0, 1.875]


def test_a_step_whose_scaled_gradients_are_too_large_is_left_out_and_the_scale_halved() -> None:
    def step(batch: Batch, ctx: EngineStep) -> dict[str, Tensor]:
        ctx.optimize("one", 1e36 * ctx.modules["one"](batch["x"]).float().sum())
        ctx.optimize("other", 1e-3 * ctx.modules["other"](batch["x"]).float().sum())
        return {}

    made, engine = pair(Optimization(precision="fp16"), step)

    assert weight(made, "one") == 2.0
    assert weight(made, "other") == pytest.approx(1.999, abs=1e-6)
    told = engine.watched()
    assert (told["one_loss_scale"], told["other_loss_scale"]) == (2.0**15, 2.0**16)
    assert "one_gradient_norm" not in told


def test_the_second_order_of_a_gradient_can_be_followed() -> None:
    def step(batch: Batch, ctx: EngineStep) -> dict[str, Tensor]:
        x = batch["x"].clone().requires_grad_()
        (slope,) = torch.autograd.grad(ctx.modules["one"](x).square().sum(), x, create_graph=True)
        ctx.optimize("one", slope.sum())  # 2 w^2, whose slope is 4 w
        return {}

    made, _ = pair(Optimization(), step)

    assert weight(made, "one") == 2.0 - 8.0


def test_several_moves_of_one_optimizer_in_a_step_are_added_up_each_for_itself() -> None:
    def step(batch: Batch, ctx: EngineStep) -> dict[str, Tensor]:
        for factor in (1.0, 0.25):
            ctx.optimize("one", factor * (batch["x"] * ctx.modules["one"].weight).mean())
        return {"mean": batch["x"].mean()}

    recipe = Pair(RecipeConfig())
    recipe.step = step  # type: ignore[method-assign]
    made = TrainState.fresh(recipe, 0)
    nn.init.constant_(made.modules["one"].weight, 0.0)
    engine = EngineStep(made, 0, 0, Optimization(accumulation_steps=2), 10)

    said = engine.run(recipe, {"x": torch.tensor([[1.0], [2.0], [6.0]])}, measures=False)

    assert weight(made, "one") == pytest.approx(-3.0 * 1.25)
    assert float(said["mean"]) == pytest.approx(3.0)


def test_compiled_networks_learn_the_same_and_keep_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = train(Notebook(tmp_path), steps=3)
    monkeypatch.setattr(state, "COMPILER", "eager")  # which traces, and runs what it traced without a compiler

    compiled = train(Notebook(tmp_path), steps=3, optimization=Optimization(compile=True))

    assert compiled.state.modules["generator"]._compiled_call_impl is not None
    assert compiled.state.modules["ema"]._compiled_call_impl is None
    assert weights(compiled, tmp_path) == weights(plain, tmp_path)


def test_epochs_are_as_many_steps_as_read_every_item_so_often(tmp_path: Path) -> None:
    trained = train(Notebook(tmp_path), steps=0, epochs=2, params=SMALL | {"batch_size": 400})

    assert trained.state.step == 7, "2 times 1,257 items in batches of 400"


def losses(monkeypatch: pytest.MonkeyPatch, values: dict[int, float]) -> None:
    """Have evaluations at those steps find these losses."""
    monkeypatch.setattr(Gan, "evaluate", lambda recipe, batch, ctx: {"d_loss": torch.tensor(values[ctx.step])})


FALLING_THEN_NOT = {10: 4.0, 20: 1.0, 30: 0.95, 40: 2.0, 50: 3.0}
PATIENT = {"stopping": Target(LOSS, min_delta=0.1), "patience": 2, "evaluate_every": 10}


def test_a_training_that_gets_no_better_ends_early_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses(monkeypatch, FALLING_THEN_NOT)
    notebook = Notebook(tmp_path)

    trained = train(notebook, steps=500, **PATIENT)

    assert (trained.stopped, trained.state.step) == (None, 40)
    assert notebook.reports[-1] == (40, 40)
    assert notebook.saved[0].step == 40
    assert sorted(notebook.sheets) == [25, 40]
    assert "stopped_early" in notebook.events
    assert (
        "Ending at step 40 of 500: validation_d_loss was best at step 20 (1), and no better in 2 evaluations since."
        in notebook.lines
    )


@pytest.mark.parametrize("stopped_at", [15, 33, 39])
def test_how_long_to_wait_is_known_to_a_run_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_at: int
) -> None:
    losses(monkeypatch, FALLING_THEN_NOT)
    notebook = Notebook(tmp_path)
    notebook.stop_at = {stopped_at: SHUTDOWN}
    train(notebook, steps=500, **PATIENT)
    notebook.stop_at = {}

    assert train(notebook, steps=500, **PATIENT).state.step == 40
    # It was killed after its last checkpoint and before it was published.
    assert train(notebook, steps=500, **PATIENT).state.step == 40
    assert notebook.events.count("stopped_early") == 1


def test_the_best_checkpoint_is_kept_and_published_where_that_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses(monkeypatch, FALLING_THEN_NOT)
    notebook = Notebook(tmp_path)

    last = train(notebook, evaluate_every=10, best=Target(LOSS))
    best = train(Notebook(tmp_path), evaluate_every=10, best=Target(LOSS), publish_best=True)

    assert [saved.step for saved in notebook.bests] == [30, 20, 10]
    assert [saved.step for saved in notebook.saved] == [50, 40, 20]
    assert (last.state.step, last.state.metrics[LOSS]) == (50, 3.0)
    assert (best.state.step, best.state.metrics[LOSS]) == (30, pytest.approx(0.95))
    assert weights(best, tmp_path) == weights(train(Notebook(tmp_path), steps=30, evaluate_every=10), tmp_path)


def test_the_best_may_be_the_highest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses(monkeypatch, FALLING_THEN_NOT)

    best = train(Notebook(tmp_path), evaluate_every=10, best=Target(LOSS, "max"), publish_best=True)

    assert best.state.step == 10


def test_a_best_checkpoint_that_is_damaged_is_told_and_the_last_state_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses(monkeypatch, FALLING_THEN_NOT)

    class Flipping(Notebook):
        def save_best(self, folder: Path, sha256: str, step: int) -> None:
            super().save_best(folder, sha256, step)
            path = Path(self.bests[0].key) / "modules.safetensors"
            data = bytearray(path.read_bytes())
            data[-1] ^= 1
            path.write_bytes(data)

    notebook = Flipping(tmp_path)

    trained = train(notebook, evaluate_every=10, best=Target(LOSS), publish_best=True)

    assert trained.state.step == 50
    assert any("The best checkpoint at step 30 cannot be used: modules" in line for line in notebook.lines)


def test_a_metric_that_there_is_not_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="There is no metric 'accuracy' at step 20; there are: d_loss, g_loss, valid"):
        train(Notebook(tmp_path), best=Target("accuracy"))


class Slow(Notebook):
    """A notebook whose first save waits until the training has come to a later step."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.went_on = threading.Event()

    def metrics(self, step: int, values: Any) -> None:
        super().metrics(step, values)
        if step == 30:
            self.went_on.set()

    def save(self, folder: Path, sha256: str, step: int) -> None:
        assert self.went_on.wait(60), "the training waited for its checkpoint"
        super().save(folder, sha256, step)


def test_a_checkpoint_is_written_while_the_training_goes_on(tmp_path: Path) -> None:
    slow, plain = Slow(tmp_path), Notebook(tmp_path)

    train(slow)
    train(plain)

    assert [(s.step, s.sha256) for s in slow.saved] == [(s.step, s.sha256) for s in plain.saved]


def test_a_checkpoint_holds_the_state_of_its_step_whatever_happens_before_it_is_written(tmp_path: Path) -> None:
    trained = train(Notebook(tmp_path))
    before = checkpoint.write(trained.state, tmp_path / "before", {})

    taken = checkpoint.snapshot(trained.state)
    EngineStep(trained.state, 0, 0).run(trained.recipe, trained.dataset.rows(torch.arange(16)), measures=False)
    trained.state.window.add({"d_loss": torch.tensor(1.0)})
    after = checkpoint.write_snapshot(taken, tmp_path / "after", {}, {})

    assert after == before


class Failing(Notebook):
    """A notebook that cannot keep its second checkpoint."""

    def save(self, folder: Path, sha256: str, step: int) -> None:
        if step == 40:
            raise Unavailable("The store is full.")
        super().save(folder, sha256, step)


def test_a_checkpoint_that_cannot_be_written_ends_the_run_with_its_reason(tmp_path: Path) -> None:
    notebook = Failing(tmp_path)

    with pytest.raises(Unavailable, match="The store is full"):
        train(notebook)

    assert [saved.step for saved in notebook.saved] == [20]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("checkpoint")]


def test_a_run_that_is_to_stop_waits_for_the_checkpoint_under_way(tmp_path: Path) -> None:
    slow = Slow(tmp_path)
    slow.stop_at = {31: SHUTDOWN}

    train(slow)

    assert [saved.step for saved in slow.saved] == [31, 20]


def test_a_run_that_is_to_stop_and_cannot_save_says_so(tmp_path: Path) -> None:
    notebook = Failing(tmp_path)
    notebook.stop_at = {40: SHUTDOWN}

    with pytest.raises(Unavailable, match="The store is full"):
        train(notebook)


def test_a_checkpoint_of_a_job_that_asks_for_nothing_new_is_what_it_always_was(tmp_path: Path) -> None:
    whole, again = Notebook(tmp_path), Notebook(tmp_path)
    straight = train(whole)
    again.saved = whole.saved[-1:]

    told = json.loads((Path(again.saved[0].key) / "state.json").read_text())
    assert set(told) == {"format", "step", "about", "optimizers", "window", "latest", "evaluated", "torch", "files"}
    assert set(told["about"]) == {"recipe", "config", "seed", "data_digest", "split"}
    assert weights(train(again), tmp_path) == weights(straight, tmp_path)
