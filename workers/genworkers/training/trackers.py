"""Experiment trackers that the node's environment names: they are told what lies in TensorBoard's event files.

Each is told with every checkpoint, by the thread that writes those, of the steps since the one before. So a Run that
goes on after a kill repeats at most what lay between two checkpoints, bit for bit, and training waits for no server.
A tracker that cannot be reached costs a Run nothing but a line in its log: what it missed is told with the next one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol
from urllib.parse import urlsplit

from genworkers.training.eventfiles import Point

MOST_KEPT = 100_000  # points that a tracker which is away can still be told
# Everybody who can read the log of a job reads what an error says.
SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "WANDB_API_KEY")


class Tracker(Protocol):
    """One place that keeps experiments. Any exception means that it was not told."""

    def tell(self, points: Sequence[Point]) -> None:
        """Add points."""

    def end(self, state: str, version: str | None) -> None:
        """Say how it ended: `finished` with the version that was published, `failed` or `cancelled`."""


class Told:
    """A tracker, and what it was not told yet."""

    def __init__(self, name: str, connect: Callable[[], Tracker], say: Callable[[str], None]) -> None:
        self._name, self._connect, self._say = name, connect, say
        self._tracker: Tracker | None = None
        self._backlog: list[Point] = []
        self._away = False

    def tell(self, points: Sequence[Point]) -> None:
        """Tell it these points, and those that it missed."""
        self._backlog = [*self._backlog, *points][-MOST_KEPT:]

        def told() -> None:
            self._reached().tell(self._backlog)
            self._backlog = []

        self._try(told, "It is told again with the next checkpoint.")

    def end(self, state: str, version: str | None) -> None:
        """Tell it what it missed, and the end."""

        def told() -> None:
            if self._backlog:
                self._reached().tell(self._backlog)
            self._reached().end(state, version)

        self._away = False
        self._try(told, "What it has of this run is not complete.")

    def _reached(self) -> Tracker:
        if self._tracker is None:
            self._tracker = self._connect()
        return self._tracker

    def _try(self, act: Callable[[], None], then: str) -> None:
        try:
            act()
        except Exception as error:
            if not self._away:
                self._say(f"{self._name} could not be told of this run: {_unsecret(str(error))[:500]} {then}")
            self._away = True
        else:
            self._away = False


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
    shown = {name: order.get(name) for name in ("recipe", "params", "data", "split", "budget", "seed", "optimization")}
    return dict(_flat("", shown))


def _flat(name: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        return [pair for key, one in value.items() for pair in _flat(f"{name}.{key}" if name else str(key), one)]
    return [] if value is None else [(name, value)]


def _unsecret(text: str) -> str:
    uri = urlsplit(os.environ.get("MLFLOW_TRACKING_URI", ""))
    for secret in [uri.password, *(os.environ.get(name) for name in SECRETS)]:
        text = text.replace(secret, "***") if secret else text
    return text
