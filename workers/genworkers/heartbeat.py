"""The sign of life that a worker's job cannot block: a thread of its own.

A platform that cannot be reached has not said that the work is lost, so the thread goes on
trying and the work goes on; what is stale is refused when it is published. One that takes the
token for nothing will never take any of the work: that is its end.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from genplatform.errors import GenctlError, Unauthorized
from genworkers.platform_client import PlatformClient

log = logging.getLogger(__name__)

# What is alive now: {"worker", "node", "runs", "claims"}.
Alive = Callable[[], Mapping[str, Any]]
# Is called with each entry {"job_id", "run", "shard", "reason"} of an answer.
OnStop = Callable[[Mapping[str, Any]], None]


class Heartbeat:
    """Beats at once and then every `seconds`, until closed."""

    def __init__(
        self,
        client: PlatformClient,
        alive: Alive,
        on_stop: OnStop,
        on_refused: Callable[[], None],
        seconds: float,
    ) -> None:
        self._client, self._alive, self._seconds = client, alive, seconds
        self._on_stop, self._on_refused = on_stop, on_refused
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def close(self) -> None:
        """Beat no more; returns once the last beat is over."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _beat(self) -> None:
        while not self._over.is_set():
            try:
                for entry in self._client.heartbeat(self._alive()):
                    self._on_stop(entry)
            except Unauthorized as error:
                log.error("heartbeat_refused: %s", error.message)
                self._on_refused()
            except GenctlError as error:
                log.warning("heartbeat_not_delivered: %s", error.message)
            except Exception:  # whatever happens here, the next beat must come
                log.exception("heartbeat_failed")
            self._over.wait(self._seconds)
