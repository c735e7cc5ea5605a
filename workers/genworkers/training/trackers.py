"""Experiment trackers that the node's environment names: they are told what lies in TensorBoard's event files.

Each is told with every checkpoint of the steps since the one before, by a thread of its own. So a Run that goes on
after a kill repeats at most what lay between two checkpoints, bit for bit, and neither training nor a checkpoint waits
for a server. One that cannot be reached costs a line in the Run's log, and at its end half a minute at most.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol
from urllib.parse import urlsplit

from genworkers.training.eventfiles import Point

log = logging.getLogger(__name__)

MOST_KEPT = 100_000  # points that a tracker which is away can still be told
AGAIN_SECONDS = 60.0
END_SECONDS = 30.0
SETTINGS = (
    *("recipe", "params", "data", "split", "budget", "seed"),
    *("optimization", "early_stopping", "lora", "privacy"),
)
# Everybody who can read the log of a job reads what an error says.
SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "WANDB_API_KEY")


class Tracker(Protocol):
    """One place that keeps experiments. Any exception means that it was not told."""

    def tell(self, points: Sequence[Point]) -> None:
        """Add points."""

    def end(self, state: str, version: str | None) -> None:
        """Say how it ended: `finished` with the version that was published, `failed`, `cancelled` or `interrupted`."""


class Told:
    """A tracker with a thread of its own, and what it was not told yet."""

    def __init__(self, name: str, connect: Callable[[], Tracker], say: Callable[[str], None]) -> None:
        self._name, self._connect, self._say = name, connect, say
        self._tracker: Tracker | None = None
        self._changed = threading.Condition()
        self._backlog: deque[Point] = deque(maxlen=MOST_KEPT)
        self._end: tuple[str, str | None] | None = None
        self._away = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def tell(self, points: Sequence[Point]) -> None:
        """Leave these points to be told."""
        with self._changed:
            self._backlog.extend(points)
            self._changed.notify_all()

    def end(self, state: str, version: str | None) -> None:
        """Have it told what it missed, and the end; wait for that, and no longer than `END_SECONDS`."""
        with self._changed:
            self._end = (state, version)
            self._changed.notify_all()
        self._thread.join(END_SECONDS)
        if self._thread.is_alive():
            self._say(f"{self._name} was not told all of this run within {END_SECONDS:.0f} s.")

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._is_time, AGAIN_SECONDS)
                end, points = self._end, list(self._backlog)
            if points or end is not None:
                self._away = not self._is_told(points, end)
            if end is not None:
                return

    def _is_time(self) -> bool:
        return self._end is not None or bool(self._backlog and not self._away)

    def _is_told(self, points: Sequence[Point], end: tuple[str, str | None] | None) -> bool:
        try:
            if self._tracker is None:
                self._tracker = self._connect()
            if points:
                self._tracker.tell(points)
                with self._changed:
                    for _ in points:
                        self._backlog.popleft()
            if end is not None:
                self._tracker.end(*end)
        except Exception as error:
            log.warning("tracker_not_told %s: %s", self._name, _unsecret(str(error)))
            if not self._away:
                then = "What it has of this run is not complete." if end else "It is told again later."
                self._say(f"{self._name} could not be told of this run: {_unsecret(str(error))[:500]} {then}")
            return False
        return True


class Trackers:
    """All trackers of a Run; none, on most nodes."""

    def __init__(self, order: Mapping[str, Any], say: Callable[[str], None]) -> None:
        from genworkers.training import mlflow_tracker, wandb_tracker

        node = dict(os.environ)

        known = (
            ("MLflow", mlflow_tracker.named, mlflow_tracker.MLflow),
            ("W&B", wandb_tracker.named, wandb_tracker.WandB),
        )
        self._told = [Told(name, partial(kind, order, node), say) for name, named, kind in known if named(node)]

    def tell(self, points: Sequence[Point]) -> None:
        """Tell each of them these points."""
        for told in self._told:
            told.tell(points)

    def end(self, state: str, version: str | None = None) -> None:
        """Tell each of them how the Run ended."""
        for told in self._told:
            told.end(state, version)


def described(order: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a tracker keeps of a job beside its metrics: the settings, each under a dotted name."""
    shown = {name: order.get(name) for name in SETTINGS}
    base = order.get("base")
    if base:
        shown["base"] = {"model": f"{base['name']}@{base['version']}", "digest": base["digest"]}
    # Where a directory lies on a node is nobody else's business.
    return {name: value for name, value in _flat("", shown) if name != "params.pretrained"}


def _flat(name: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        return [pair for key, one in value.items() for pair in _flat(f"{name}.{key}" if name else str(key), one)]
    return [] if value is None else [(name, value)]


def _unsecret(text: str) -> str:
    uri = urlsplit(os.environ.get("MLFLOW_TRACKING_URI", ""))
    for secret in [uri.password, *(os.environ.get(name) for name in SECRETS)]:
        text = text.replace(secret, "***") if secret else text
    return text
