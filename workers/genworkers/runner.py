"""A warm process: it has imported and once tried out what runs need, and waits to be handed one order.

What it is handed it becomes, for good: to the engine, and by its title to whoever lists processes.
It never takes a second order, because whatever the first one's code left behind would be there for it.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from ray._common.utils import get_system_memory  # Ray's developer API: what its own memory monitor goes by
from ray._private.utils import get_used_memory

from genworkers.actor import where

log = logging.getLogger(__name__)

# Leaves more alone than a runner needs, on small machines and on large ones: it is only a convenience.
SPARE_BYTES = 2 * 2**30
SPARE_SHARE = 0.1


def is_roomy(free: int, whole: int) -> bool:
    """Tell whether a node with so much memory free may keep a process that only waits."""
    return free >= max(SPARE_BYTES, SPARE_SHARE * whole)


class Runner:
    """One process's worth of warmth. To the engine it is an actor like any other once it was handed an order."""

    def __init__(self, order: Mapping[str, Any]) -> None:
        self._node = where()
        self._raylet = os.getppid()
        self._taking = threading.RLock()
        self._taken = threading.Event()
        self._worker: Any = None
        self._broke: Exception | None = None
        self._told_to_stop: list[str] = []
        if self._is_roomy():
            self._warm_up()

    def take(self, actor: str, order: Mapping[str, Any]) -> None:
        """Become the worker that `actor` (`module:Class`) names, for this order, and start; again changes nothing.

        What its constructor raises is raised by `join`, as an actor's that cannot be made.
        """
        with self._taking:
            if self._taken.is_set():
                return
            try:
                module, _, name = actor.partition(":")
                worker = getattr(import_module(module), name)(dict(order))
                worker.start()
            except Exception as error:  # whatever it is, it is the end of this order and of this process
                log.exception("order_not_taken")
                self._broke = error
            else:
                self._worker = worker
                for reason in self._told_to_stop:
                    worker.stop(reason)
                # Ray titles a process after its actor's class: `ps` says what it is, not what it was.
                self.__class__ = type(name, (type(self),), {})
            self._taken.set()

    def ping(self) -> dict[str, Any]:
        """Give a sign of life: the worker's own, or while there is none, whether it is of use.

        That is, whether the node has room for an idle one; and whether it lost its raylet, after which Ray ends it
        within a second.
        """
        if self._worker is not None:
            told: dict[str, Any] = self._worker.ping()
            return told
        orphaned = os.getppid() != self._raylet
        return {"pid": os.getpid(), "node": self._node, "roomy": self._is_roomy(), "orphaned": orphaned}

    def stop(self, reason: str) -> None:
        """Ask the worker to stop; one that is just coming to be hears it when it is there."""
        with self._taking:
            self._told_to_stop.append(reason)
            worker = self._worker
        if worker is not None:
            worker.stop(reason)

    def join(self) -> str:
        """Wait for the worker's end and return it, or raise what broke it."""
        self._taken.wait()
        if self._broke is not None:
            raise self._broke
        outcome: str = self._worker.join()
        return outcome

    def _is_roomy(self) -> bool:
        whole = get_system_memory()
        return is_roomy(whole - get_used_memory(), whole)

    def _warm_up(self) -> None:
        from genworkers.warming import warm_up

        warm_up()
