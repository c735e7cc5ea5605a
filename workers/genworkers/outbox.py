"""What a run tells the platform, sent by a thread of its own in batches.

Training never waits for the API: it leaves word here and goes on. Word that cannot be
delivered is kept, within bounds, until it can.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from genplatform.domain.times import Clock
from genplatform.errors import Fenced, GenctlError, Unavailable
from genplatform.store import Stored
from genworkers.platform_client import PlatformClient

log = logging.getLogger(__name__)

EVERY_SECONDS = 0.5
KEPT_LINES = 10_000
LINES_A_POST = 500
LONGEST_LINE = 4_000


@dataclass(frozen=True)
class _Artifact:
    body: dict[str, Any]
    then: Callable[[], None]


class Outbox:
    """Takes word of one run and delivers it in order; `on_fenced` is called when the run is not current any more."""

    def __init__(
        self,
        client: PlatformClient,
        job_id: str,
        run: int,
        *,
        clock: Clock,
        on_fenced: Callable[[], None],
        seconds: float = EVERY_SECONDS,
    ) -> None:
        self._client, self._clock, self._on_fenced, self._seconds = client, clock, on_fenced, seconds
        self._ids = {"job_id": job_id, "run": run}
        self._changed = threading.Condition()
        self._progress: dict[str, Any] | None = None
        self._metrics: deque[dict[str, Any]] = deque(maxlen=KEPT_LINES)
        self._logs: deque[dict[str, Any]] = deque(maxlen=KEPT_LINES)
        self._events: deque[dict[str, Any]] = deque(maxlen=KEPT_LINES)
        self._artifacts: deque[_Artifact] = deque()
        self._sequence = 0
        self._sending = False
        self._hurry = False
        self._closed = False
        self._thread = threading.Thread(target=self._deliver, name="outbox", daemon=True)

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def progress(self, done: int, total: int, unit: str, rate: float | None) -> None:
        """Say how far the run is; only the newest word is kept."""
        with self._changed:
            self._progress = {"done": done, "total": total, "unit": unit, "rate": rate}

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Add one point of each metric."""
        with self._changed:
            self._metrics.append({"step": step, "time": self._clock(), "values": dict(values)})

    def log(self, text: str) -> None:
        """Add a log line."""
        with self._changed:
            self._sequence += 1
            self._logs.append({"seq": self._sequence, "time": self._clock(), "text": text[:LONGEST_LINE]})

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        """Add an event."""
        with self._changed:
            self._events.append({"type": kind, "time": self._clock(), "data": dict(data)})

    def artifact(self, kind: str, stored: Stored, step: int, then: Callable[[], None] = lambda: None) -> None:
        """Record a stored artifact; `then` is called, by the sending thread, once the platform has recorded it."""
        body = {**self._ids, "kind": kind, **stored.as_json(), "step": step}
        with self._changed:
            self._artifacts.append(_Artifact(body, then))

    def flush(self, seconds: float) -> bool:
        """Deliver all that was left here until now, waiting at most `seconds`; tell whether all went out."""
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            done = self._changed.wait_for(lambda: self._closed or self._is_empty(), timeout=seconds)
            self._hurry = False
            return done and self._is_empty()

    def close(self) -> None:
        """Deliver no more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    def _is_empty(self) -> bool:
        return not (self._sending or self._progress or self._metrics or self._logs or self._events or self._artifacts)

    def _deliver(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._hurry, timeout=self._seconds)
                if self._closed:
                    return
                if self._is_empty():
                    continue
                self._sending = True
            try:
                self._send()
            except Fenced:
                self._on_fenced()
                self._forget()
            except Unavailable as error:
                log.warning("word_not_delivered: %s", error.message)
                self._hurry = False  # whoever flushes waits on; the next try comes at the usual pace
            except GenctlError as error:
                # A refusal would be refused again: keeping it would hold up everything behind it.
                log.error("word_refused: %s", error.message)
                self._forget()
            except Exception:
                log.exception("outbox_failed")
                self._forget()
            finally:
                with self._changed:
                    self._sending = False
                    self._changed.notify_all()

    def _send(self) -> None:
        while self._artifacts:
            first = self._artifacts[0]
            self._client.artifact(first.body)
            self._artifacts.popleft()
            first.then()
        with self._changed:
            progress = self._progress
            batch = {
                "metrics": list(self._metrics)[:LINES_A_POST],
                "logs": list(self._logs)[:LINES_A_POST],
                "events": list(self._events)[:LINES_A_POST],
            }
        if progress is None and not any(batch.values()):
            return
        self._client.progress({**self._ids, "progress": progress, **batch})
        with self._changed:
            if self._progress is progress:
                self._progress = None
            # Compared by identity: while it was sent, the bounds may have pushed the oldest out.
            for name, kept in (("metrics", self._metrics), ("logs", self._logs), ("events", self._events)):
                sent = {id(entry) for entry in batch[name]}
                while kept and id(kept[0]) in sent:
                    kept.popleft()

    def _forget(self) -> None:
        with self._changed:
            self._progress = None
            for kept in (self._metrics, self._logs, self._events, self._artifacts):
                kept.clear()
