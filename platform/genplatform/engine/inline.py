"""The twin of the engine without Ray: actors are objects in threads of this process.

For unit tests of what stands above the seam. Threads cannot be killed, so `kill` and
`fail` ask the object to stop and forget it at once: like a worker cut off from the
platform, it may still speak for a moment, and fences must refuse it.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from genplatform.domain.job import Capacity, NodeSize
from genplatform.engine.loading import LoadError, load
from genplatform.engine.seam import Death, End, Liveness, Served, ServeOrder
from genplatform.errors import Unavailable

NODE = "inline"


@dataclass
class _Inline:
    worker: Any
    cpus: float
    gpus: float
    silent: bool = False


class InlineEngine:
    """Engine in this process with a fixed capacity.

    Tests steer it: `fail` ends an actor, `silence` makes one not answer, `reachable` cuts the
    engine off. Other instances built with `of` share its actors, as two dispatchers share a cluster.
    """

    def __init__(self, cpus: float = 4.0, gpus: float = 0.0, of: InlineEngine | None = None) -> None:
        self._cpus: float = of._cpus if of else cpus
        self._gpus: float = of._gpus if of else gpus
        self._lock: threading.RLock = of._lock if of else threading.RLock()
        self._actors: dict[str, _Inline] = of._actors if of else {}
        self._endings: dict[str, tuple[str, End]] = of._endings if of else {}
        self._watched: set[str] = set()
        self.reachable = True

    def nodes(self) -> list[str]:
        """Return the one node there is."""
        self._reach()
        return [NODE]

    def capacity(self, avoid: Collection[str] = ()) -> Capacity:
        """Return the fixed capacity, less what actors hold; nothing is free when this process is to be avoided."""
        self._reach()
        if NODE in avoid:
            return Capacity(self._cpus, self._gpus, 0.0, 0.0, self._sizes())
        with self._lock:
            held = list(self._actors.values())
        return Capacity(
            cpus=self._cpus,
            gpus=self._gpus,
            free_cpus=max(0.0, self._cpus - sum(one.cpus for one in held)),
            free_gpus=max(0.0, self._gpus - sum(one.gpus for one in held)),
            nodes=self._sizes(),
        )

    def _sizes(self) -> tuple[NodeSize, ...]:
        return (NodeSize(NODE, self._cpus, self._gpus),)

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
        """Build the object and start it, for there is no other node; one that cannot be built is told by `deaths`."""
        self._reach()
        with self._lock:
            self._watched.add(name)
            if name in self._actors:
                return
            try:
                worker = load(actor)(dict(order))
            except LoadError as error:
                self._endings[name] = str(error), End.BROKEN
                return
            except Exception as error:  # whatever a worker's constructor raises is its death
                self._endings[name] = f"{type(error).__name__}: {error}", End.BROKEN
                return
            self._actors[name] = _Inline(worker, cpus, gpus)
        worker.start()
        threading.Thread(target=self._await, args=(name, worker), name=f"join {name}", daemon=True).start()

    def _await(self, name: str, worker: Any) -> None:
        try:
            message, end = f"It ended: {worker.join()}.", End.OVER
        except Exception as error:  # as above
            message, end = f"{type(error).__name__}: {error}", End.BROKEN
        with self._lock:
            # Not when it was killed in the meantime: then it has had its ending.
            if name in self._actors and self._actors[name].worker is worker:
                del self._actors[name]
                self._endings[name] = message, end

    def stop(self, name: str, reason: str) -> None:
        """Ask the object to stop."""
        self._reach()
        with self._lock:
            one = self._actors.get(name)
        if one is not None:
            one.worker.stop(reason)

    def kill(self, name: str) -> None:
        """Forget the object now."""
        self._reach()
        self.fail(name, "It was killed.", End.KILLED)

    def fail(self, name: str, message: str = "The worker died.", end: End = End.PROCESS) -> None:
        """For tests: end an actor as its process's death would, or otherwise, with `message` as the reason."""
        with self._lock:
            one = self._actors.pop(name, None)
            if one is not None:
                self._endings[name] = message, end
        if one is not None:
            one.worker.stop("killed")

    def silence(self, name: str, silent: bool = True) -> None:
        """For tests: make an actor stop (or start again) answering pings."""
        with self._lock:
            self._actors[name].silent = silent

    def liveness(self, names: Sequence[str], seconds: float) -> dict[str, Liveness]:
        """Tell at once; nothing is waited for."""
        if not self.reachable:
            return dict.fromkeys(names, Liveness.UNKNOWN)
        with self._lock:
            return {name: self._state(name) for name in names}

    def _state(self, name: str) -> Liveness:
        one = self._actors.get(name)
        if one is None:
            return Liveness.GONE
        return Liveness.SILENT if one.silent else Liveness.ALIVE

    def actors(self) -> list[str]:
        """Return the names of all actors."""
        self._reach()
        with self._lock:
            return sorted(self._actors)

    def deaths(self) -> list[Death]:
        """Return the watched actors that are no more."""
        self._reach()
        with self._lock:
            over = sorted(name for name in self._watched if name not in self._actors)
            self._watched.difference_update(over)
            return [Death(name, *self._endings.get(name, ("It does not exist.", End.UNKNOWN))) for name in over]

    def adopt(self, names: Sequence[str]) -> None:
        """Watch these too."""
        with self._lock:
            self._watched.update(names)

    def tend(self, warm: int | None) -> int:
        """Keep nothing warm: there are no processes to start."""
        self._reach()
        return 0

    def _reach(self) -> None:
        if not self.reachable:
            raise Unavailable("The inline engine was made unreachable.")


class InlineServing:
    """Serving that only keeps the orders; tests say how far each is with `become`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders: dict[str, ServeOrder] = {}
        self._served: dict[str, Served] = {}
        self.reachable = True

    def apply(self, order: ServeOrder) -> None:
        """Take the order; replicas of an earlier generation go on answering."""
        self._reach()
        with self._lock:
            if self._orders.get(order.name) == order:
                return
            before = self._served.get(order.name)
            self._orders[order.name] = order
            self._served[order.name] = Served(
                name=order.name,
                state="starting",
                ready=before.ready if before else 0,
                url=f"http://127.0.0.1:0{order.order['route']}",
                message="",
                generation=order.generation,
            )

    def become(self, name: str, state: str, ready: int, message: str = "") -> None:
        """For tests: say how an endpoint is served."""
        with self._lock:
            self._served[name] = replace(self._served[name], state=state, ready=ready, message=message)

    def remove(self, name: str) -> None:
        """Forget the order."""
        self._reach()
        with self._lock:
            self._orders.pop(name, None)
            self._served.pop(name, None)

    def served(self) -> dict[str, Served]:
        """Return all orders and how far they are."""
        self._reach()
        with self._lock:
            return dict(self._served)

    def _reach(self) -> None:
        if not self.reachable:
            raise Unavailable("The inline serving was made unreachable.")
