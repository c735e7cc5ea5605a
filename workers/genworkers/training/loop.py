"""The one training loop, around any recipe. Knows neither Ray nor the platform.

Nothing random survives a step: torch is seeded anew by (seed, rank, step), and which items a
step reads follows from (seed, step). So a run that is killed anywhere and goes on from a
checkpoint makes the very weights it would have made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from genplatform.domain.seeds import item_seed
from genplatform.errors import BadRequest, NotFound
from genworkers import models
from genworkers.context import RunContext
from genworkers.data.augment import Augment
from genworkers.data.blocks import learnable
from genworkers.data.dataset import Dataset, Order, split
from genworkers.data.fetching import Fetch, no_uploads, uploads_of
from genworkers.data.sources import open_source
from genworkers.images import pictures
from genworkers.recipes import registry
from genworkers.recipes.base import IMAGE, TEXT, DataFacts, Recipe
from genworkers.sampler import Sampler
from genworkers.scratch import scratch
from genworkers.stop import CANCEL, LOST
from genworkers.training import checkpoint
from genworkers.training.evaluation import ROWS_UNDER_WAY, at_rest, evaluate
from genworkers.training.sheet import ACROSS, BESIDE, SHEETS, beside, draw_sheet
from genworkers.training.state import EngineStep, TrainState

REPORT_SECONDS = 0.5
MOST_POINTS = 200  # of a metric's curve


@dataclass(frozen=True)
class TrainJob:
    """What to train, as the spec says it."""

    recipe: str
    params: Mapping[str, Any]
    data: Mapping[str, Any]
    split: Mapping[str, float] | None
    steps: int
    checkpoint_every: int
    sheet_every: int
    evaluate_every: int
    folders: Sequence[str] = ()  # whose files may be named by their paths
    fetch: Fetch = no_uploads

    @classmethod
    def from_order(cls, order: Mapping[str, Any]) -> TrainJob:
        """Read it from what the engine hands to the actor."""
        return cls(
            recipe=order["recipe"],
            params=order.get("params") or {},
            data=order["data"],
            split=order.get("split"),
            steps=int(order["budget"]["steps"]),
            checkpoint_every=int(order["checkpoint"]["every"]),
            sheet_every=int(order["sheet_every"]),
            # Jobs that an older version submitted say nothing of it.
            evaluate_every=int(order.get("evaluate_every") or order["sheet_every"]),
            folders=tuple(order.get("folders") or ()),
            fetch=uploads_of(order["store_url"], order["tenant"]),
        )

    @property
    def metrics_every(self) -> int:
        """Steps between two points of a metric."""
        return max(1, min(self.sheet_every, math.ceil(self.steps / MOST_POINTS)))


@dataclass(frozen=True)
class Trained:
    """Where a loop ended. `stopped` says why, when it was not because all steps were done."""

    recipe: Recipe[Any]
    state: TrainState
    dataset: Dataset
    split: dict[str, Any]
    stopped: str | None


def train(job: TrainJob, ctx: RunContext, *, clock: Callable[[], float], rank: int = 0, world_size: int = 1) -> Trained:
    """Train until the budget is used up or the context says stop; `clock` gives seconds, for rates alone.

    Raises what the recipe or the data raise; BadRequest for a job that cannot be trained;
    Unavailable when the store cannot be used.
    """
    loop = _Loop(job, ctx, clock, rank, world_size)
    stopped = loop.run()
    return Trained(loop.recipe, loop.state, loop.dataset, loop.split, stopped)


class _Loop:
    def __init__(self, job: TrainJob, ctx: RunContext, clock: Callable[[], float], rank: int, world_size: int) -> None:
        self.job, self.ctx, self.rank, self.world_size = job, ctx, rank, world_size
        recipe = registry.find(job.recipe)
        if not recipe.trainable:
            raise BadRequest(
                f"The recipe {job.recipe!r} has nothing to train.", "Generate with its built-in model instead."
            )
        self.dataset = open_source(job.data, job.folders, job.fetch)
        self.recipe = _configured(recipe, job, facts_of(self.dataset))
        parts, self.split = split(self.dataset, job.split)
        self.about = {
            "recipe": job.recipe,
            "config": self.recipe.config.model_dump(mode="json"),
            "seed": ctx.seed,
            "data_digest": self.dataset.digest,
            "split": self.split,
        }
        self._describe(parts)
        restored = self._restore()
        self.dataset, parts = self._prepared(parts)
        self.validation = parts["validation"]
        self.augment = Augment.of(job.data)
        self.order = Order(parts["train"], self.recipe.batch_size, ctx.seed)
        self.state = restored or TrainState.fresh(self.recipe, ctx.seed)
        self.saved_at = self.state.step
        self.pace = _Pace(clock, self.state.step)

    def run(self) -> str | None:
        """Do the steps that are left; return why it stopped early, or None."""
        engine, first = EngineStep(self.state, self.ctx.seed, self.rank), self.state.step + 1
        self.ctx.report(self.state.step, self.job.steps, None)
        while self.state.step < self.job.steps:
            reason = self.ctx.should_stop()
            if reason is not None:
                return self._stop(reason)
            engine.begin(self.state.step)
            self.state.window.add(self.recipe.step(self._batch(), engine))
            self.state.step += 1
            if self.state.step == first:
                self.ctx.event("first_step", {"step": first})
            self._after_step()
        self.ctx.report(self.state.step, self.job.steps, self.pace.rate)
        return self.ctx.should_stop() if self.ctx.should_stop() in {LOST, CANCEL} else None

    def _prepared(self, parts: dict[str, Tensor]) -> tuple[Dataset, dict[str, Tensor]]:
        """Return what is learned from: the data as it is, or the rows of tokens that the recipe makes of its texts."""
        learned, cut = learnable(self.recipe, self.dataset, parts)
        if learned is not self.dataset:
            self.ctx.log(
                f"The {len(parts['train']):,} texts to train on are {len(cut['train']):,} rows of tokens; "
                f"{len(cut['validation']):,} rows are to validate."
            )
        return learned, cut

    def _batch(self) -> dict[str, Tensor]:
        """Return what this step reads, augmented as the spec says."""
        place = (self.state.step, self.rank, self.world_size)
        indices = self.order.batch(*place)
        return self.augment.applied(self.dataset.rows(indices), indices, self.order.epochs(*place), self.ctx.seed)

    def _after_step(self) -> None:
        step, last = self.state.step, self.state.step == self.job.steps
        if self.pace.is_due(step):
            self.ctx.report(step, self.job.steps, self.pace.rate)
        if step % self.job.metrics_every == 0 or last:
            self._measure()
        if step % self.job.evaluate_every == 0 or last:
            self._evaluate(self.validation if last else self.validation[:ROWS_UNDER_WAY])
        if step % self.job.sheet_every == 0 or last:
            self._show()
        if step % self.job.checkpoint_every == 0 or last:
            self._save()

    def _measure(self) -> None:
        """Fetch the window's means: the one place where the loop waits for its numbers."""
        self.state.latest = self.state.window.take()
        self._tell(self.state.latest)

    def _evaluate(self, rows: Tensor) -> None:
        self.state.evaluated = evaluate(self.recipe, self.state, self.dataset, rows, self.ctx.seed)
        if self.state.evaluated:
            self._tell(self.state.evaluated)

    def _tell(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            if not math.isfinite(value):
                raise BadRequest(
                    f"{name} became {value} at step {self.state.step}: the training has diverged.",
                    "Lower the learning rate (params.learning_rate), or try another seed.",
                )
        self.ctx.metrics(self.state.step, values)

    def _show(self) -> None:
        values = ", ".join(f"{name} {value:.3f}" for name, value in self.state.metrics.items())
        rate = f" ({self.pace.rate:.0f} steps a second)" if self.pace.rate else ""
        self.ctx.log(f"Step {self.state.step:,} of {self.job.steps:,}: {values}{rate}.")
        sheet = SHEETS.get(self.recipe.modality)
        if sheet is None:
            return
        held_out = self._held_out()
        wishes = self.recipe.asked(held_out) if held_out else None
        with at_rest(self.state.modules):
            sampler = Sampler(self.recipe, models.part_served(self.recipe, self.state.modules), self.recipe.tile)
            seeds = [item_seed(self.ctx.seed, index) for index in range(len(wishes) if wishes else sheet.items)]
            drawn = sampler.draw(seeds, wishes)
        if wishes is None:
            self.ctx.sheet(sheet.draw(drawn), self.state.step, sheet.extension)
            return
        columns = pictures(held_out["source"]), drawn, pictures(held_out["x"])
        self.ctx.sheet(draw_sheet(beside(*columns), ACROSS), self.state.step, sheet.extension)

    def _held_out(self) -> dict[str, Tensor]:
        """Return the pairs that a sheet shows, always the same ones; empty where the data has none."""
        rows = self.validation if len(self.validation) else self.order.indices
        return self.dataset.rows(rows[:BESIDE]) if hasattr(self.dataset, "source_shape") else {}

    def _save(self) -> None:
        with scratch("checkpoint") as place:
            folder = place / "checkpoint"
            digest = checkpoint.write(self.state, folder, self.about, self.recipe.assets)
            self.ctx.save(folder, digest, self.state.step)
        self.saved_at = self.state.step
        self.ctx.log(f"Saved a checkpoint at step {self.state.step:,}.")

    def _stop(self, reason: str) -> str:
        if reason not in {LOST, CANCEL}:
            if self.state.step > self.saved_at:
                self._save()
            self.ctx.log(f"Stopped at step {self.state.step:,} ({reason}); it can go on from there.")
        elif reason == CANCEL:
            self.ctx.log(f"Cancelled at step {self.state.step:,}.")
        return reason

    def _restore(self) -> TrainState | None:
        """Return the newest whole checkpoint's state; say so whenever one cannot be used."""
        offered = self.ctx.checkpoints()
        for saved in offered:
            with scratch("checkpoint") as place:
                folder = place / "checkpoint"
                try:
                    self.ctx.fetch(saved, folder)
                    state = checkpoint.read(folder, saved.sha256, self.recipe, self.about)
                except (NotFound, checkpoint.Damaged) as error:
                    self._tell_damaged(saved.step, str(error))
                    continue
            self.ctx.log(f"Going on from the checkpoint at step {state.step:,}.")
            self.ctx.event("resumed", {"step": state.step})
            return state
        if offered:
            self.ctx.log(f"None of {len(offered)} checkpoints can be used: starting again from step 0.")
            self.ctx.event("restarted_from_zero", {"checkpoints": len(offered)})
        return None

    def _tell_damaged(self, step: int, why: str) -> None:
        self.ctx.log(f"The checkpoint at step {step:,} cannot be used: {why}. Trying the one before it.")
        self.ctx.event("checkpoint_damaged", {"step": step, "why": why})

    def _describe(self, parts: Mapping[str, Tensor]) -> None:
        shape, counts = getattr(self.dataset, "shape", None), {name: len(part) for name, part in parts.items()}
        what = f"pictures of {shape.width}x{shape.height}" if shape else "items"
        what = "documents" if self.dataset.modality == TEXT else what
        self.ctx.log(
            f"Read {len(self.dataset):,} {what} from {self.dataset.name}: "
            f"{counts['train']:,} to train on, {counts['validation']:,} to validate, {counts['test']:,} to test."
        )
        for note in self.dataset.notes:
            self.ctx.log(note)
        self.ctx.log(
            f"Training the recipe {self.job.recipe} for {self.job.steps:,} steps of {self.recipe.batch_size} items."
        )


def facts_of(dataset: Dataset) -> DataFacts:
    """Return what recipes may take from a dataset before they build; classes without names are called by number."""
    classes = tuple(getattr(dataset, "classes", ()))
    if not classes and dataset.labels is not None and len(dataset.labels):
        classes = tuple(map(str, range(int(dataset.labels.max()) + 1)))
    return DataFacts(
        getattr(dataset, "modality", IMAGE),
        getattr(dataset, "shape", None),
        classes,
        source=getattr(dataset, "source_shape", None),
        sound=getattr(dataset, "sound", None),
    )


def _configured(recipe: type[Recipe[Any]], job: TrainJob, data: DataFacts) -> Recipe[Any]:
    try:
        return recipe.configured(job.params, data)
    except ValidationError:
        raise  # which says by itself what is wrong with which parameter
    except ValueError as error:
        raise BadRequest(
            f"The recipe {job.recipe!r} cannot be used with these params and this data: {error}",
            f"`genctl recipes show {job.recipe}` tells what it takes.",
        ) from error


class _Pace:
    """Steps a second over the last few seconds, and whether it is time to say so."""

    def __init__(self, clock: Callable[[], float], step: int) -> None:
        self._clock = clock
        self._marks = [(clock(), step)]
        self.rate: float | None = None

    def is_due(self, step: int) -> bool:
        """Tell whether half a second has passed since the last time this was true."""
        now = self._clock()
        if now - self._marks[-1][0] < REPORT_SECONDS:
            return False
        self._marks = [*self._marks[-9:], (now, step)]
        first, start = self._marks[0]
        self.rate = (step - start) / (now - first)
        return True
