"""The seam of execution: where runs, pool workers and endpoints live, whatever hosts them.

The platform names worker classes by string (`module:attribute`), because it imports no
worker code. Actors are handles and never records: the truth is in the catalog.

A worker class is built with its order and has `start()` (returns at once; called again by a
dispatcher that cannot know whether its predecessor did, so it must not start twice),
`ping()` (tells its `node`), `stop(reason)` and `join()` (blocks until the work is over, returns how it ended, or
raises what broke it). Names are used once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from genplatform.domain.job import Capacity

RUN_ACTOR = "genworkers.training.actor:RunActor"
COMMAND_ACTOR = "genworkers.commanding.actor:CommandActor"
EVALUATE_ACTOR = "genworkers.judging.actor:EvaluateActor"
COMPRESS_ACTOR = "genworkers.compressing.actor:CompressActor"
POOL_ACTOR = "genworkers.generating.actor:PoolActor"
# What a warm runner can become: the others need no warmth.
WARMABLE = (RUN_ACTOR, EVALUATE_ACTOR, POOL_ACTOR)
SERVE_APP = "genworkers.serving.app:build"
# Becomes an actor of another class by `take(actor, order)`, once; until then its `ping` tells whether it is `roomy`.
RUNNER = "genworkers.runner:Runner"


class Liveness(StrEnum):
    """What the engine knows of an actor. Only `GONE` is knowledge of an end."""

    ALIVE = "alive"  # it answered just now
    SILENT = "silent"  # it exists and did not answer in time: stopped, hung or overloaded
    GONE = "gone"  # the engine knows that it does not exist
    UNKNOWN = "unknown"  # the engine itself could not be asked


class End(StrEnum):
    """How an actor ended, as far as the engine knows: it says whose doing it was."""

    OVER = "over"  # its work ended, and it said how
    BROKEN = "broken"  # its code raised: it could not be made, or its work broke
    KILLED = "killed"  # the platform ended it
    PROCESS = "process"  # its process died: of a signal, or by leaving
    MEMORY = "memory"  # it was ended because its node ran out of memory
    NODE = "node"  # its node died
    PREEMPTED = "preempted"  # its node was taken away, with notice
    UNKNOWN = "unknown"  # it does not exist, and nobody says why


class Death(str):
    """The name of an actor that ended, in `end` how, in `message` what is known of why, and in `node` where."""

    message: str
    end: End
    node: str

    def __new__(cls, name: str, message: str = "", end: End = End.UNKNOWN, node: str = "") -> Death:
        """Return the name with what is known; `node` is empty where it is not."""
        death = super().__new__(cls, name)
        death.message = message
        death.end = end
        death.node = node
        return death


class Engine(Protocol):
    """Hosts detached, named actors.

    Every method returns within seconds, and raises `genplatform.errors.Unavailable` when the
    engine cannot be reached; only `liveness` says `UNKNOWN` instead.
    """

    def nodes(self) -> list[str]:
        """Return the names of the nodes that are alive; several that share a name are one."""

    def capacity(self, avoid: Collection[str] = ()) -> Capacity:
        """Return what the cluster has, and what is free on nodes other than those to `avoid`.

        What is promised to actors still starting is not free.
        """

    def start(
        self,
        name: str,
        actor: str,
        order: Mapping[str, Any],
        *,
        cpus: float,
        gpus: float,
        avoid: Collection[str] = (),
    ) -> None:
        """Start the actor `name` of class `actor` with `order`; one that exists already is kept as it is.

        A warm runner may become it, and nothing but its speed tells. It is placed on none of the nodes to
        `avoid`. Does not wait: an actor that cannot be made is told by `deaths`, one that does not fit now
        waits inside the engine until it does.
        """

    def stop(self, name: str, reason: str) -> None:
        """Ask an actor to stop cooperatively; returns at once, and is quiet when it does not exist."""

    def kill(self, name: str) -> None:
        """End an actor now; quiet when it does not exist."""

    def liveness(self, names: Sequence[str], seconds: float) -> dict[str, Liveness]:
        """Ask actors for a sign of life and wait at most `seconds` for all of them together."""

    def actors(self) -> list[str]:
        """Return the names of all actors of this platform that exist."""

    def deaths(self) -> Sequence[Death]:
        """Return the actors that ended since the last call, started or adopted by this process.

        Each is told once, however it ended: its work over, an error, a kill, its node lost.
        What it held is given back. Never waits for an actor.
        """

    def adopt(self, names: Sequence[str]) -> None:
        """Watch actors that another process started; one that does not exist is told as a death."""

    def tend(self, warm: int | None) -> int:
        """Give back what is still held for actors that are over, and bring idle runners nearer to `warm` a node.

        None leaves the idle ones as they are, 0 ends them. One is made at a time, in the background,
        and none where memory is short. Returns how many are ready.
        """


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
    state: str  # starting | running | failed | stopping
    ready: int  # replicas that answer; of an older generation too, while a newer one starts
    url: str
    message: str
    generation: int  # of the order applied last; 0 when that is not known


class Serving(Protocol):
    """Hosts endpoints. Raises `genplatform.errors.Unavailable` when it cannot be reached."""

    def apply(self, order: ServeOrder) -> None:
        """Make the endpoint be served so; returns before it is ready. The same order again changes nothing."""

    def remove(self, name: str) -> None:
        """Stop serving an endpoint; quiet when it is not served."""

    def served(self) -> dict[str, Served]:
        """Return all endpoints that are served now, by name."""
