"""All that a training loop may touch of the world: report, save, should_stop, seeds.

The loop knows neither Ray nor the platform; it is handed a RunContext. `PlatformContext`
is the one that speaks to a store and to /internal/v1.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import tenacity

from genplatform.domain import layout
from genplatform.domain.keys import RunKey
from genplatform.domain.times import Clock
from genplatform.errors import GenctlError, Unavailable
from genplatform.store import Store, Stored
from genworkers.outbox import Outbox
from genworkers.scratch import scratch
from genworkers.stop import StopFlag
from genworkers.training.eventfiles import Point, Points, write_events
from genworkers.training.trackers import Trackers

log = logging.getLogger(__name__)

STORE_RETRY_SECONDS = 60.0
T = TypeVar("T")


@dataclass(frozen=True)
class SavedCheckpoint:
    """A checkpoint that the platform has recorded: where it lies, the digest it must have, its step."""

    key: str
    sha256: str
    step: int


class RunContext(Protocol):
    """What a loop is given."""

    seed: int

    def report(self, done: int, total: int, rate: float | None) -> None:
        """Say how many steps are done."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to each metric."""

    def log(self, text: str) -> None:
        """Add a line, in plain words, to the run's log."""

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        """Add an event to the job's history."""

    def save(self, folder: Path, sha256: str, step: int) -> None:
        """Keep a checkpoint's folder; its digest is `sha256`. Durable in the store when this returns."""

    def save_best(self, folder: Path, sha256: str, step: int) -> None:
        """Keep a checkpoint's folder as the best one, instead of the one that was; durable when this returns."""

    def sheet(self, data: bytes, step: int, extension: str) -> None:
        """Keep a sample sheet, a file whose name ends so."""

    def checkpoints(self) -> Sequence[SavedCheckpoint]:
        """Return what this run may go on from, newest first."""

    def best(self) -> SavedCheckpoint | None:
        """Return the checkpoint that was the best until now."""

    def fetch(self, saved: SavedCheckpoint, folder: Path) -> None:
        """Copy a checkpoint to a local folder; raises NotFound when it is gone."""

    def should_stop(self) -> str | None:
        """Return why to stop, a reason of `genworkers.stop`, or None."""


class PlatformContext:
    """The RunContext of a run that the platform ordered."""

    def __init__(
        self, order: Mapping[str, Any], store: Store, outbox: Outbox, stop: StopFlag, clock: Clock = time.time
    ) -> None:
        self.seed = int(order["seed"])
        self._run = RunKey(order["tenant"], order["job_id"], int(order["run"]))
        self._store, self._outbox, self._stop, self._clock = store, outbox, stop, clock
        self._points = Points()
        self.trackers = Trackers(order, self.log)
        self._own = f"{layout.job(self._run.job)}/"
        self._keep = int(order["checkpoint"]["keep"])
        self._saved = [_saved(told) for told in order.get("resume") or ()]
        self._best = _saved(order["best"]) if order.get("best") else None

    def report(self, done: int, total: int, rate: float | None) -> None:
        """Say how many steps are done."""
        self._outbox.progress(done, total, "steps", rate)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to each metric."""
        self._outbox.metrics(step, values)
        self._points.add(Point(self._clock(), step, dict(values)))

    def log(self, text: str) -> None:
        """Add a line to the run's log, and to this process's."""
        log.info("%s", text)
        self._outbox.log(text)

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        """Add an event to the job's history."""
        self._outbox.event(kind, data)

    def save(self, folder: Path, sha256: str, step: int) -> None:
        """Store the checkpoint under a name of this run's own, have it recorded, then let the oldest go."""
        key = layout.checkpoint(self._run, step)
        stored = patiently(lambda: self._store.put_tree(folder, key))
        saved = SavedCheckpoint(key, sha256, step)
        size = sum(s.size for s in stored)
        self._outbox.artifact("checkpoint", Stored(key, sha256, size), step, then=lambda: self._recorded(saved))
        self._keep_events(step)

    def save_best(self, folder: Path, sha256: str, step: int) -> None:
        """Store the checkpoint apart from those to go on from, have it recorded, then let the one before go."""
        key = layout.best_checkpoint(self._run, step)
        stored = patiently(lambda: self._store.put_tree(folder, key))
        before, self._best = self._best, SavedCheckpoint(key, sha256, step)
        size = sum(s.size for s in stored)
        self._outbox.artifact("best_checkpoint", Stored(key, sha256, size), step, then=lambda: self._let_go(before))

    def sheet(self, data: bytes, step: int, extension: str) -> None:
        """Store the sheet and have it recorded."""
        key = layout.sheet(self._run, step, extension)
        stored = patiently(lambda: self._store.put_bytes(key, data))
        self._outbox.artifact("sheet", stored, step)

    def checkpoints(self) -> Sequence[SavedCheckpoint]:
        """Return what the order named."""
        return tuple(self._saved)

    def best(self) -> SavedCheckpoint | None:
        """Return the best one that this run saved, or the one that the order named."""
        return self._best

    def fetch(self, saved: SavedCheckpoint, folder: Path) -> None:
        """Copy a checkpoint to a local folder."""
        patiently(lambda: self._store.fetch_tree(saved.key, folder))

    def should_stop(self) -> str | None:
        """Return why to stop, or None."""
        return self._stop.reason

    def _keep_events(self, step: int) -> None:
        """Store the metrics up to a checkpoint for TensorBoard; a Run is no worse for those that cannot be stored."""
        points = self._points.take(step)
        if not points:
            return
        try:
            with scratch("events") as place:
                path = place / "tfevents"
                write_events(points, path)
                stored = patiently(lambda: self._store.put_file(path, layout.tensorboard(self._run, step)))
        except (GenctlError, OSError) as error:
            self.log(f"The metrics up to step {step:,} are not among the event files of TensorBoard: {error}")
        else:
            self._outbox.artifact("tensorboard", stored, step)
        self.trackers.tell(points)

    def _recorded(self, saved: SavedCheckpoint) -> None:
        # Only now: recording is fenced, so a run that is not current any more removes nothing.
        self._saved.insert(0, saved)
        for old in self._saved[self._keep :]:
            self._let_go(old)
        del self._saved[self._keep :]

    def _let_go(self, old: SavedCheckpoint | None) -> None:
        if old is None or not old.key.startswith(self._own):
            return  # of the job that this one does again, and that job's to keep
        try:
            self._store.remove(old.key)
        except GenctlError as error:
            log.warning("checkpoint_not_removed: %s", error.message)


def _saved(told: Mapping[str, Any]) -> SavedCheckpoint:
    return SavedCheckpoint(told["key"], told["sha256"], int(told["step"]))


class Follower:
    """The RunContext of a worker that does not lead its gang: it begins where the leader does, and says nothing."""

    def __init__(self, order: Mapping[str, Any], store: Store) -> None:
        self.seed = int(order["seed"])
        self._store = store
        self._saved = [_saved(told) for told in order.get("resume") or ()]

    def report(self, done: int, total: int, rate: float | None) -> None:
        """Leave it to the leader."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Leave it to the leader."""

    def log(self, text: str) -> None:
        """Add a line to this process's log."""
        log.info("%s", text)

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        """Leave it to the leader."""

    def save(self, folder: Path, sha256: str, step: int) -> None:
        """Leave it to the leader."""

    def save_best(self, folder: Path, sha256: str, step: int) -> None:
        """Leave it to the leader."""

    def sheet(self, data: bytes, step: int, extension: str) -> None:
        """Leave it to the leader."""

    def checkpoints(self) -> Sequence[SavedCheckpoint]:
        """Return what the order named."""
        return tuple(self._saved)

    def best(self) -> SavedCheckpoint | None:
        """Return none: it is the leader's state that becomes the model."""
        return None

    def fetch(self, saved: SavedCheckpoint, folder: Path) -> None:
        """Copy a checkpoint to a local folder."""
        patiently(lambda: self._store.fetch_tree(saved.key, folder))

    def should_stop(self) -> str | None:
        """Leave it to the leader: all stop before the same step."""
        return None


def patiently(act: Callable[[], T], seconds: float = STORE_RETRY_SECONDS) -> T:
    """Do `act` on the store, trying again for a while when the store cannot be used."""
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(Unavailable),
        wait=tenacity.wait_random_exponential(multiplier=0.2, max=5),
        stop=tenacity.stop_after_delay(seconds),
        reraise=True,
    )
    return retrying(act)
