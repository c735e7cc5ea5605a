"""An engine moved by hand: actors are entries in a table, and what befalls them is what a test says, at once.

The twin in `genplatform.engine.inline` runs worker objects in threads; here nothing runs, so
that a test of the loops decides on every step. Engines made `of` another share its actors, as
two dispatchers share a cluster.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from genplatform.domain.job import Capacity, NodeSize
from genplatform.engine.seam import Death, End, Engine, Liveness
from genplatform.errors import GenctlError, Unavailable


@dataclass
class HandActor:
    """One actor: what it was made of, and what it was asked."""

    actor: str
    order: dict[str, Any]
    cpus: float
    gpus: float
    node: str
    silent: bool = False
    asked: list[str] = field(default_factory=list)


class HandEngine(Engine):
    """The seam over a table of actors."""

    def __init__(self, cpus: float = 4.0, gpus: float = 0.0, of: HandEngine | None = None) -> None:
        self.cpus: float = of.cpus if of else cpus
        self.gpus: float = of.gpus if of else gpus
        self.table: dict[str, HandActor] = of.table if of else {}
        self._endings: dict[str, tuple[str, End, str]] = of._endings if of else {}
        self.cpus_of: dict[str, float] = of.cpus_of if of else {}  # by node; where it is empty there is one, n1
        self._watched: set[str] = set()
        self.reachable = True
        self.refusal: GenctlError | None = None  # `start` raises it
        self.stillborn = ""  # actors die of it while they are made
        self.lost_starts = 0  # so many starts are carried out, and their answers lost
        self.warm: int | None = None  # what it was told last
        self.started: list[str] = []
        self.killed: list[str] = []

    # What tests do.

    def names(self, prefix: str = "") -> list[str]:
        return sorted(name for name in self.table if name.startswith(prefix))

    def die(self, name: str, message: str = "Its process was killed.", end: End = End.PROCESS) -> None:
        """End an actor as a signal to its process would, or otherwise."""
        node = self.table.pop(name).node
        self._endings[name] = message, end, node

    def vanish(self, name: str) -> None:
        """End an actor and let nobody be told."""
        del self.table[name]
        self._watched.discard(name)

    # The seam.

    def nodes(self) -> list[str]:
        self._reach()
        return sorted(self.cpus_of) or ["n1"]

    def capacity(self, avoid: Collection[str] = ()) -> Capacity:
        self._reach()
        free_cpus = sum(max(0.0, self._free_cpus(node)) for node in self.nodes() if node not in avoid)
        free_gpus = self.gpus - sum(one.gpus for one in self.table.values())
        sizes = tuple(NodeSize(node, self.cpus_of.get(node, self.cpus), self.gpus) for node in self.nodes())
        return Capacity(sum(self.cpus_of.values()) or self.cpus, self.gpus, free_cpus, max(0.0, free_gpus), sizes)

    def _free_cpus(self, node: str) -> float:
        return self.cpus_of.get(node, self.cpus) - sum(one.cpus for one in self.table.values() if one.node == node)

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
        self._reach()
        if self.refusal is not None:
            raise self.refusal
        self.started.append(name)
        self._watched.add(name)
        if self.stillborn:
            self._endings[name] = self.stillborn, End.BROKEN, ""
        else:
            # The roomiest of the nodes that are not to be avoided, as Ray spreads.
            node = max((n for n in self.nodes() if n not in avoid), key=self._free_cpus)
            self.table.setdefault(name, HandActor(actor, dict(order), cpus, gpus, node))
        if self.lost_starts:
            self.lost_starts -= 1
            raise Unavailable("The answer was lost.")

    def stop(self, name: str, reason: str) -> None:
        self._reach()
        if name in self.table:
            self.table[name].asked.append(reason)

    def kill(self, name: str) -> None:
        self._reach()
        if name in self.table:
            self.killed.append(name)
            self.die(name, "It was killed.", End.KILLED)

    def liveness(self, names: Sequence[str], seconds: float) -> dict[str, Liveness]:
        if not self.reachable:
            return dict.fromkeys(names, Liveness.UNKNOWN)
        return {name: self._state(name) for name in names}

    def _state(self, name: str) -> Liveness:
        one = self.table.get(name)
        if one is None:
            return Liveness.GONE
        return Liveness.SILENT if one.silent else Liveness.ALIVE

    def actors(self) -> list[str]:
        self._reach()
        return self.names()

    def deaths(self) -> list[Death]:
        self._reach()
        over = sorted(name for name in self._watched if name not in self.table)
        self._watched.difference_update(over)
        return [Death(name, *self._endings.get(name, ("It does not exist.", End.UNKNOWN, ""))) for name in over]

    def adopt(self, names: Sequence[str]) -> None:
        self._watched.update(names)

    def tend(self, warm: int | None) -> int:
        self._reach()
        self.warm = warm
        return warm or 0

    def _reach(self) -> None:
        if not self.reachable:
            raise Unavailable("The engine was cut off by the test.")
