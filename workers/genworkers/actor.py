"""What every actor is to the engine: started, asked how it is, told to stop, waited for.

The work is done in a thread of its own, beside a heartbeat that it cannot block.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from genplatform.domain.names import node_name
from genplatform.errors import Fenced, GenctlError
from genworkers.heartbeat import Heartbeat
from genworkers.platform_client import PlatformClient
from genworkers.stop import LOST, StopFlag

log = logging.getLogger(__name__)


def where() -> str:
    """Return the name of the node this process is on, as the platform's engine calls it."""
    hostname = socket.gethostname()
    # Ray is loaded where it runs this process; elsewhere there is nothing but the machine.
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return hostname
    try:
        here = ray.get_runtime_context().get_node_id()
        nodes = [node for node in ray.nodes() if node["NodeID"] == here]
    except Exception:  # a cluster that cannot say it now is no reason not to work
        log.exception("node_not_told")
        return hostname
    return node_name(nodes[0]["NodeName"], nodes[0]["NodeManagerAddress"], hostname) if nodes else hostname


class Actor(ABC):
    """One order's worker. `start` returns at once; `join` returns the end: what `_execute` returned, lost or
    unreachable. It raises when the work broke in a way that nobody expected, before or between what it told.

    A subclass says what the work is (`_execute`, in the thread), what of it is alive (`_alive`, for the
    heartbeat) and what a heartbeat's answer means (`_told_to_stop`).
    """

    def __init__(self, order: Mapping[str, Any]) -> None:
        self._order = order
        self._node = where()
        self._stop = StopFlag()
        self._client = PlatformClient(order["api_url"], order["token"])
        seconds = float(order["heartbeat_seconds"])
        self._heartbeat = Heartbeat(self._client, self._alive, self._told_to_stop, lambda: self.stop(LOST), seconds)
        self._outcome = ""
        self._broke = ""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="work", daemon=True)
        self._starting = threading.Lock()

    def start(self) -> None:
        """Begin, in a thread of its own; once begun, this changes nothing."""
        with self._starting:
            if self._thread.ident is None:
                self._thread.start()

    def ping(self) -> dict[str, Any]:
        """Give a sign of life."""
        return {"pid": os.getpid(), "node": self._node, "outcome": self._outcome, "stop": self._stop.reason}

    def stop(self, reason: str) -> None:
        """Ask to stop, for a reason of `genworkers.stop`; returns at once."""
        self._stop.ask(reason)

    def join(self) -> str:
        """Wait for the end and return it; raises RuntimeError with what broke the work."""
        self._over.wait()
        if self._broke:
            raise RuntimeError(self._broke)
        return self._outcome

    @abstractmethod
    def _execute(self) -> str: ...

    @abstractmethod
    def _alive(self) -> dict[str, Any]: ...

    @abstractmethod
    def _told_to_stop(self, entry: Mapping[str, Any]) -> None: ...

    def _run(self) -> None:
        try:
            self._outcome = self._execute()
        except GenctlError as error:
            # The platform could not be told. It will notice the silence; what is claimed or saved is safe.
            log.error("work_ended_untold actor=%s: %s", self._order["actor"], error.message)
            lost = isinstance(error, Fenced) or self._stop.reason == LOST
            self._outcome = "lost" if lost else "unreachable"
        except BaseException as error:
            log.exception("work_broke actor=%s", self._order["actor"])
            self._outcome = "failed"
            self._broke = f"{type(error).__name__}: {error}"
        finally:
            self._heartbeat.close()
            self._client.close()
            log.info("work_ended actor=%s outcome=%s", self._order["actor"], self._outcome)
            self._over.set()
