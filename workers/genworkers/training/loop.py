"""The one training loop, around any recipe. Knows neither Ray nor the platform.

Nothing random survives a step: torch is seeded anew by (seed, rank, step), and which items a
step reads follows from (seed, step). So a run that is killed anywhere and goes on from a
checkpoint makes the very weights it would have made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from genplatform.domain.seeds import item_seed
from genplatform.errors import BadRequest, NotFound
from genworkers import models, own_recipes
from genworkers.context import RunContext, SavedCheckpoint
from genworkers.data.augment import Augment
from genworkers.data.blocks import learnable
from genworkers.data.dataset import Dataset, Order, split
from genworkers.data.sources import open_source
from genworkers.images import pictures
from genworkers.recipes.base import IMAGE, TEXT, DataFacts, Recipe
from genworkers.sampler import Sampler
from genworkers.scratch import scratch
from genworkers.stop import CANCEL, LOST
from genworkers.training import checkpoint, private
from genworkers.training.agreement import Agreement, refuse_drift, refuse_other_starts, refuse_unshared
from genworkers.training.evaluation import ROWS_UNDER_WAY, at_rest, evaluate
from genworkers.training.gang import Gang
from genworkers.training.job import Target, TrainJob
from genworkers.training.pace import Pace, Use
from genworkers.training.pretrained import from_directory
from genworkers.training.saving import Saver
from genworkers.training.sheet import ACROSS, BESIDE, SHEETS, beside, draw_sheet
from genworkers.training.start import Start
from genworkers.training.state import EngineStep, TrainState
from genworkers.training.tracking import Track

# What of a state is tracked, and for what.
STOPPING, BEST = "early_stopping", "best"


@dataclass(frozen=True)
class Trained:
    """Where a loop ended. `stopped` says why, when it was not because there was nothing left to do.

    `state` is what becomes the model: the last one, or that of the best checkpoint.
    """

    recipe: Recipe[Any]
    state: TrainState
    dataset: Dataset
    split: dict[str, Any]
    stopped: str | None
    parts: Mapping[str, Tensor] = field(default_factory=dict)  # of `dataset`
    start: Start = field(default_factory=Start)
    privacy: Mapping[str, Any] | None = None  # what of its budget a private training has spent

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers that are known of the model, and what it may tell of an item where that has a bound."""
        bound = {} if self.privacy is None else {private.METRIC: float(self.privacy["epsilon"])}
        return self.state.metrics | bound


def train(job: TrainJob, ctx: RunContext, *, clock: Callable[[], float], rank: int = 0, world_size: int = 1) -> Trained:
    """Train until the budget is used up or the context says stop; `clock` gives seconds, for rates alone.

    Raises what the recipe or the data raise; BadRequest for a job that cannot be trained;
    Unavailable when the store cannot be used.
    """
    loop = _Loop(job, ctx, clock, rank, world_size)
    stopped = loop.run()
    state = loop.state if stopped is not None else loop.chosen()
    spent = private.spent(loop.job, loop.state)
    return Trained(loop.recipe, state, loop.dataset, loop.split, stopped, loop.parts, loop.job.start, spent)


class _Loop:
    def __init__(self, job: TrainJob, ctx: RunContext, clock: Callable[[], float], rank: int, world_size: int) -> None:
        self.ctx, self.gang = ctx, Gang(rank, world_size)
        recipe = own_recipes.recipe_named(job.recipe, job.fetch)
        if not recipe.trainable:
            raise BadRequest(
                f"The recipe {job.recipe!r} has nothing to train.", "Generate with its built-in model instead."
            )
        job = from_directory(recipe, job)
        self.dataset = open_source(job.data, job.folders, job.fetch)
        self.recipe = _configured(recipe, job, facts_of(self.dataset))
        if job.optimization.accumulation_steps > 1 and self.recipe.whole_batches:
            raise BadRequest(
                f"The recipe {self.recipe.name} reads no batch in {job.optimization.accumulation_steps} parts: "
                f"{self.recipe.whole_batches}.",
                "Leave optimization.accumulation_steps out, and lower params.batch_size where memory is short.",
            )
        refuse_unshared(self.gang, self.recipe)
        parts, self.split = split(self.dataset, job.split)
        self.about = {
            "recipe": job.recipe,
            "config": self.recipe.config.model_dump(mode="json"),
            "seed": ctx.seed,
            "data_digest": self.dataset.digest,
            "split": self.split,
            **job.unusual(),
            **job.start.about(),
        }
        self._describe(parts)
        restored = self._restore(job.start)
        self.dataset, parts = self._prepared(parts)
        self.parts, self.validation = parts, parts["validation"]
        self.augment = Augment.of(job.data)
        self.job = job.with_steps(len(parts["train"]), self.recipe.batch_size)
        self.ctx.log(
            f"Training the recipe {self.recipe.name} for {self.job.steps:,} steps of {self.recipe.batch_size} items."
        )
        self.state = restored or TrainState.fresh(self.recipe, ctx.seed, job.first_stage, job.start)
        for line in job.start.told(self.recipe, self.state.modules):
            self.ctx.log(line)
        refuse_other_starts(self.gang, self.state.step)
        self.agreement = Agreement(self.gang, ctx.should_stop, clock, self.state.step)
        self.order: Order | private.PoissonOrder = Order(parts["train"], self.recipe.batch_size, ctx.seed)
        if job.privacy is None:
            self.engine = EngineStep(self.state, ctx.seed, rank, job.optimization, self.job.steps, world_size)
        else:
            digest = self.dataset.digest
            self.order = private.begin(self.job, self.recipe, self.state, parts["train"], digest, self.gang)
            self.engine = private.PrivateStep(self.state, self.job, job.privacy, self.order)
            ctx.log(private.said(self.job, self.state))
        self.items_seed = ctx.seed if job.privacy is None else private.items_seed(self.state)
        self.saved_at = self.state.step
        self.saver = Saver()
        self.pace, self.use = Pace(clock, self.state.step), Use(clock, torch.get_num_threads())

    def run(self) -> str | None:
        """Do the steps that are left; return why it stopped early, or None. All that was to be saved is saved then."""
        with self.saver:
            reason = self._do_steps()
            if reason is not None:
                self._stop(reason)
            self.saver.wait()
        return reason

    def chosen(self) -> TrainState:
        """Return the state that becomes the model, once all is done."""
        best, target = self.state.tracks.get(BEST), self.job.best
        if not self.job.publish_best or best is None or target is None or best.step == self.state.step:
            return self.state
        saved = self.ctx.best()
        if saved is None or saved.step != best.step:
            self._tell_damaged("best checkpoint", best.step, "it is not there", "Publishing the last state.")
            return self.state
        state = self._read(saved, "best checkpoint", "Publishing the last state.", self.job.start)
        if state is not None:
            self.ctx.log(f"Publishing the state of step {state.step:,}: {target.metric} {best.value:.4g}.")
        return state or self.state

    def _do_steps(self) -> str | None:
        first, total = self.state.step + 1, self.job.steps
        self.ctx.report(self.state.step, total, None)
        while not self._is_over():
            reason = self.agreement.should_stop(self.state.step)
            if reason is not None:
                return reason
            self.saver.check()
            measures = self._is_due(self.job.metrics_every, self.state.step + 1)
            said = self.engine.run(self.recipe, self._batch(), measures=measures)
            self.state.window.add(said, self.engine.share)
            self.state.step += 1
            if self.state.step == first:
                self.ctx.event("first_step", {"step": first})
            self._after_step()
        # One that ended early has done all there was to do.
        self.ctx.report(self.state.step, self.state.step, self.pace.rate)
        return self.ctx.should_stop() if self.ctx.should_stop() in {LOST, CANCEL} else None

    def _is_over(self) -> bool:
        """Whether the budget is used up, or evaluations have shown no improvement for long enough."""
        track = self.state.tracks.get(STOPPING)
        patience_is_over = self.job.stopping is not None and track is not None and track.without >= self.job.patience
        return self.state.step >= self.job.steps or patience_is_over

    def _is_due(self, every: int, step: int) -> bool:
        return step % every == 0 or step == self.job.steps

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
        place = (self.state.step, self.gang.rank, self.gang.size)
        indices = self.order.batch(*place)
        return self.augment.applied(self.dataset.rows(indices), indices, self.order.epochs(*place), self.items_seed)

    def _after_step(self) -> None:
        step, better = self.state.step, False
        if self.pace.is_due(step):
            self.ctx.report(step, self.job.steps, self.pace.rate)
        if self._is_due(self.job.metrics_every, step):
            self._measure()
        if self._is_due(self.job.evaluate_every, step):
            better = self._evaluate()
        last = self._is_over()
        if last and step < self.job.steps:
            self._tell_end()
        if last or step % self.job.sheet_every == 0:
            self._show()
        if last or better or step % self.job.checkpoint_every == 0:
            self._save(best=better, latest=last or step % self.job.checkpoint_every == 0)

    def _measure(self) -> None:
        """Fetch the window's means: the one place where the loop waits for its numbers."""
        self.state.latest = self.state.window.take(self.gang)
        self._tell(self.state.latest | self.engine.watched() | self.use.look())

    def _evaluate(self) -> bool:
        """Look at the validation part, at the end at all of it; tell whether the state is the best until now."""
        state, better = self.state, False
        few, is_tracked = self.validation[:ROWS_UNDER_WAY], bool(self.job.best or self.job.stopping)
        if is_tracked or state.step < self.job.steps:
            state.evaluated = self._looked_at(few)
            better = self._track(BEST, self.job.best)
            self._track(STOPPING, self.job.stopping)
        if self._is_over() and not (is_tracked and len(few) == len(self.validation)):
            state.evaluated = self._looked_at(self.validation)
        if state.evaluated:
            self._tell(state.evaluated)
        return better

    def _looked_at(self, rows: Tensor) -> dict[str, float]:
        """Return what the leader finds, whom the others wait for: what follows from it, all do alike."""
        found = evaluate(self.recipe, self.state, self.dataset, rows, self.ctx.seed) if self.gang.leads else None
        told: dict[str, float] = self.gang.told(found)
        return told

    def _track(self, name: str, target: Target | None) -> bool:
        if target is None or (target.metric not in self.state.metrics and target.metric in self.state.window.sums):
            return False  # one of the training's own, and its first mean is still under way
        track = self.state.tracks.setdefault(name, Track())
        return track.look(target, self.state.metrics, self.state.step)

    def _tell_end(self) -> None:
        """Say that it ends before its budget does, with the means of what was under way."""
        track, metric = self.state.tracks[STOPPING], self.job.stopping.metric if self.job.stopping else ""
        if self.state.window.count:
            self._measure()
        self.ctx.log(
            f"Ending at step {self.state.step:,} of {self.job.steps:,}: {metric} was best at step {track.step:,} "
            f"({track.value:.4g}), and no better in {track.without} evaluations since."
        )
        self.ctx.event("stopped_early", {"step": self.state.step, "best_step": track.step, "metric": metric})

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
        held_out = self._held_out()
        if sheet is None or held_out is None or not self.gang.leads:
            return
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

    def _held_out(self) -> dict[str, Tensor] | None:
        """Return the pairs that a sheet shows, always the same; {} for data without; None for those no one may see."""
        if not hasattr(self.dataset, "source_shape"):
            return {}
        if self.job.privacy is not None and not len(self.validation):
            return None  # a private training learns from all there are
        return self.dataset.rows((self.validation if len(self.validation) else self.order.indices)[:BESIDE])

    def _save(self, *, latest: bool, best: bool = False) -> None:
        """Begin to save a copy of the state: to go on from, or to publish because it is the best, or for both."""
        self.saver.wait()  # before the copy is made, so that there is one at most
        refuse_drift(self.gang, self.state)
        windows = self.gang.all(self.state.window.as_json())
        if not self.gang.leads:
            self.saved_at = self.state.step if latest else self.saved_at
            return
        taken = checkpoint.snapshot(self.state, windows)
        self.saver.begin(lambda: self._write(taken, latest=latest, best=best))

    def _write(self, taken: checkpoint.Snapshot, *, latest: bool, best: bool) -> None:
        with scratch("checkpoint") as place:
            folder = place / "checkpoint"
            sha256 = checkpoint.write_snapshot(taken, folder, self.about, self.recipe.assets)
            # The best first: a state to go on from knows which was the best, and finds it.
            if best:
                self.ctx.save_best(folder, sha256, taken.step)
            if latest:
                self.ctx.save(folder, sha256, taken.step)
                self.saved_at = taken.step
        self.ctx.log(f"Saved {'a checkpoint' if latest else 'the best checkpoint'} at step {taken.step:,}.")

    def _stop(self, reason: str) -> None:
        if reason not in {LOST, CANCEL}:
            self.saver.wait()
            if self.state.step > self.saved_at:
                self._save(latest=True)
                self.saver.wait()
            self.ctx.log(f"Stopped at step {self.state.step:,} ({reason}); it can go on from there.")
        elif reason == CANCEL:
            self.ctx.log(f"Cancelled at step {self.state.step:,}.")

    def _restore(self, start: Start) -> TrainState | None:
        """Return the newest whole checkpoint's state; say so whenever one cannot be used."""
        offered = self.ctx.checkpoints()
        for saved in offered:
            state = self._read(saved, "checkpoint", "Trying the one before it.", start)
            if state is not None:
                self.ctx.log(f"Going on from the checkpoint at step {state.step:,}.")
                self.ctx.event("resumed", {"step": state.step})
                return state
        if offered:
            self.ctx.log(f"None of {len(offered)} checkpoints can be used: starting again from step 0.")
            self.ctx.event("restarted_from_zero", {"checkpoints": len(offered)})
        return None

    def _read(self, saved: SavedCheckpoint, what: str, then: str, start: Start) -> TrainState | None:
        with scratch("checkpoint") as place:
            folder = place / "checkpoint"
            try:
                self.ctx.fetch(saved, folder)
                return checkpoint.read(folder, saved.sha256, self.recipe, self.about, self.gang, start)
            except (NotFound, checkpoint.Damaged) as error:
                self._tell_damaged(what, saved.step, str(error), then)
                return None

    def _tell_damaged(self, what: str, step: int, why: str, then: str) -> None:
        self.ctx.log(f"The {what} at step {step:,} cannot be used: {why}. {then}")
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
        if self.gang.size > 1 and self.recipe.worker_dependent:
            self.ctx.log(f"Another number of workers makes another model: {self.recipe.worker_dependent}.")


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
        return recipe.configured(job.params, data, job.first_stage, job.start.base)
    except ValidationError:
        raise  # which says by itself what is wrong with which parameter
    except ValueError as error:
        raise BadRequest(
            f"The recipe {job.recipe!r} cannot be used with these params and this data: {error}",
            f"`genctl recipes show {job.recipe}` tells what it takes.",
        ) from error
