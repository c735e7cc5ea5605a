"""The Ray engine: detached named actors on a Ray cluster, spoken to through `ray_link`."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from genplatform.domain.job import Capacity, NodeSize
from genplatform.engine.ray_link import RayLink, Refused, shared_link
from genplatform.engine.seam import RUNNER, WARMABLE, Death, End, Liveness
from genplatform.errors import Unavailable

NAMESPACE = "genctl"
CALL_SECONDS = 10.0
# What was seen so short a time ago is not asked for again: Ray itself hears of its nodes no sooner, and the rounds of a
# busy dispatcher follow each other within milliseconds. What was started or ended since is no part of it.
SEEN_SECONDS = 0.25


class RayEngine:
    """Engine on the Ray at `address`.

    The set of watched actors is kept here and not in the host process, so that a lost
    connection loses no death: the next host watches the same actors, and reports those
    that are gone.
    """

    def __init__(
        self,
        address: str,
        namespace: str = NAMESPACE,
        link: RayLink | None = None,
        runner: str = RUNNER,
        warmable: Collection[str] = WARMABLE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._link = link or shared_link(address, namespace)
        self._runner = runner
        self._warmable = frozenset(warmable)
        self._lock = threading.Lock()
        self._watched: set[str] = set()
        self._stillborn: list[Death] = []
        self._clock = clock
        self._seen: dict[tuple[str, ...], tuple[float, Any]] = {}

    def nodes(self) -> list[str]:
        """Return the names of the nodes that are alive."""
        names: list[str] = self._link.call("nodes", CALL_SECONDS)
        return names

    def capacity(self, avoid: Collection[str] = ()) -> Capacity:
        """Return what the cluster has and what is free."""
        avoided = tuple(sorted(avoid))
        at, seen = self._seen.get(avoided, (-math.inf, ()))
        if self._clock() - at >= SEEN_SECONDS:
            at, seen = self._clock(), self._link.call("capacity", CALL_SECONDS, avoid=list(avoided))
            self._seen = {avoided: (at, seen)}
        nodes, free_cpus, free_gpus = seen
        sizes = tuple(NodeSize(*node) for node in nodes)
        cpus, gpus = sum(one.cpus for one in sizes), sum(one.gpus for one in sizes)
        return Capacity(cpus, gpus, free_cpus, free_gpus, sizes)

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
        """Start or find the actor; a class that cannot be loaded is told by `deaths`."""
        wanted = {"name": name, "actor": actor, "order": dict(order), "cpus": cpus, "gpus": gpus}
        wanted["warmly"] = actor in self._warmable
        self._seen.clear()
        try:
            self._link.call("start", CALL_SECONDS, **wanted, avoid=sorted(avoid))
        except Refused as error:
            with self._lock:
                self._stillborn.append(Death(name, str(error), End.BROKEN))
        else:
            self.adopt([name])

    def stop(self, name: str, reason: str) -> None:
        """Ask the actor to stop."""
        self._link.call("stop", CALL_SECONDS, name=name, reason=reason)

    def kill(self, name: str) -> None:
        """End the actor now."""
        self._seen.clear()
        self._link.call("kill", CALL_SECONDS, name=name)

    def liveness(self, names: Sequence[str], seconds: float) -> dict[str, Liveness]:
        """Ask for signs of life; all are UNKNOWN when Ray cannot be asked."""
        if not names:
            return {}
        try:
            found = self._link.call("liveness", seconds + CALL_SECONDS, names=list(names), seconds=seconds)
        except Unavailable:
            return dict.fromkeys(names, Liveness.UNKNOWN)
        return {name: Liveness(state) for name, state in found.items()}

    def actors(self) -> list[str]:
        """Return the names of all actors in the namespace."""
        names: list[str] = self._link.call("actors", CALL_SECONDS)
        return names

    def deaths(self) -> list[Death]:
        """Return the watched actors that ended since the last call."""
        with self._lock:
            watched = sorted(self._watched)
        over = self._link.call("deaths", CALL_SECONDS, names=watched) if watched else []
        if over:
            self._seen.clear()
        with self._lock:
            ended, self._stillborn = self._stillborn, []
            self._watched.difference_update(name for name, *_ in over)
        return [*ended, *(Death(name, message, End(end), node) for name, message, end, node in over)]

    def adopt(self, names: Sequence[str]) -> None:
        """Watch these too, from the next `deaths` on."""
        with self._lock:
            self._watched.update(names)

    def tend(self, warm: int | None) -> int:
        """Look after the warm runners and what they hold."""
        ready: int = self._link.call("tend", CALL_SECONDS, warm=warm, runner=self._runner)
        return ready

    def close(self) -> None:
        """Let go of the cluster; the actors live on."""
        self._link.close()
