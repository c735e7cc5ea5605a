"""The seam of execution: where runs, pool workers and endpoints live, whatever hosts them.

The platform names worker classes by string (`module:attribute`), because it imports no
worker code. Actors are handles and never records: the truth is in the catalog.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from genplatform.domain.job import Capacity

RUN_ACTOR = "genworkers.training.actor:RunActor"
POOL_ACTOR = "genworkers.generating.actor:PoolActor"
SERVE_APP = "genworkers.serving.app:build"


class Liveness(StrEnum):
    """What the engine knows of an actor. Only `GONE` is knowledge of an end."""

    ALIVE = "alive"  # it answered just now
    SILENT = "silent"  # it exists and did not answer in time: stopped, hung or overloaded
    GONE = "gone"  # the engine knows that it does not exist
    UNKNOWN = "unknown"  # the engine itself could not be asked


class Engine(Protocol):
    """Hosts detached, named actors. Raises `genplatform.errors.Unavailable` when it cannot be reached."""

    def capacity(self) -> Capacity:
        """Return what the cluster has and what is free."""

    def start(self, name: str, actor: str, order: Mapping[str, Any], *, cpus: float, gpus: float) -> None:
        """Start the actor `name` of class `actor` with `order`; one that exists already is kept as it is."""

    def stop(self, name: str, reason: str) -> None:
        """Ask an actor to stop cooperatively; returns at once, and is quiet when it does not exist."""

    def kill(self, name: str) -> None:
        """End an actor now; quiet when it does not exist."""

    def liveness(self, names: Sequence[str], seconds: float) -> dict[str, Liveness]:
        """Ask actors for a sign of life and wait at most `seconds` for all of them together."""

    def actors(self) -> list[str]:
        """Return the names of all actors of this platform that exist."""

    def deaths(self) -> list[str]:
        """Return the actors that ended since the last call, started or adopted by this process. Never waits."""

    def adopt(self, names: Sequence[str]) -> None:
        """Watch actors that another process started."""


@dataclass(frozen=True)
class ServeOrder:
    """One endpoint as it should be served. `order` is what the replicas get."""

    name: str
    order: Mapping[str, Any]
    min_replicas: int
    max_replicas: int
    generation: int


@dataclass(frozen=True)
class Served:
    """One endpoint as it is served."""

    name: str
    state: str  # starting | running | failed
    ready: int
    url: str
    message: str
    generation: int


class Serving(Protocol):
    """Hosts endpoints. Raises `genplatform.errors.Unavailable` when it cannot be reached."""

    def apply(self, order: ServeOrder) -> None:
        """Make the endpoint be served so; returns before it is ready. The same order again changes nothing."""

    def remove(self, name: str) -> None:
        """Stop serving an endpoint; quiet when it is not served."""

    def served(self) -> dict[str, Served]:
        """Return all endpoints that are served now, by name."""
