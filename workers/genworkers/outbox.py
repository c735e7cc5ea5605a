"""What a run tells the platform, sent by a thread of its own in batches.

Training never waits for the API: it leaves word here and goes on. Word that cannot be
delivered is kept, within bounds, until it can; word that is refused is dropped, and no other.
"""

from __future__ import annotations

import itertools
import json
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from genplatform.domain.log_lines import LineNumber, Stream
from genplatform.domain.times import Clock
from genplatform.errors import Fenced, GenctlError, Unavailable
from genplatform.store import Stored
from genworkers.platform_client import PlatformClient
from genworkers.transcript import Line

log = logging.getLogger(__name__)

EVERY_SECONDS = 0.5
KEPT_LINES = 10_000
LINES_A_POST = 500
BYTES_A_POST = 1024 * 1024
BYTES_AROUND = 1024  # ids, progress, names
LONGEST_LINE = 4_000


@dataclass(frozen=True, eq=False)
class _Entry:
    """One metric point, log line or event, and how many bytes it has at most when it travels."""

    body: dict[str, Any]
    size: int

    @classmethod
    def of(cls, body: dict[str, Any]) -> _Entry:
        return cls(body, len(json.dumps(body)) + 1)


@dataclass(frozen=True)
class _Batch:
    progress: dict[str, Any] | None
    entries: dict[str, list[_Entry]]

    def as_json(self) -> dict[str, Any]:
        told = {name: [entry.body for entry in entries] for name, entries in self.entries.items()}
        return {"progress": self.progress, **told}


@dataclass(frozen=True)
class _Artifact:
    body: dict[str, Any]
    then: Callable[[], None]


class Outbox:
    """Takes word of one run and delivers it in order; `on_fenced` is called when the run is not current any more.

    Each log line is given to `also` as well, one at a time.
    """

    def __init__(
        self,
        client: PlatformClient,
        job_id: str,
        run: int,
        *,
        clock: Clock,
        on_fenced: Callable[[], None],
        seconds: float = EVERY_SECONDS,
        also: Callable[[Line], None] = lambda _: None,
        rank: int = 0,
    ) -> None:
        self._client, self._clock, self._on_fenced, self._seconds = client, clock, on_fenced, seconds
        self._also = also
        self._rank = rank
        self._ids = {"job_id": job_id, "run": run}
        self._changed = threading.Condition()
        self._progress: dict[str, Any] | None = None
        self._entries = {name: deque[_Entry](maxlen=KEPT_LINES) for name in ("metrics", "logs", "events")}
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
        self._add("metrics", {"step": step, "time": self._clock(), "values": dict(values)})

    def log(self, text: str, stream: Stream = Stream.LOG, time: float | None = None) -> None:
        """Add a log line; `time` is when it was printed, if not now."""
        # The name of a file may hold bytes that are no text, and an error's message such a name.
        sent = text[:LONGEST_LINE].encode("utf-8", "replace").decode()
        with self._changed:
            self._sequence += 1
            number = LineNumber(self._sequence, self._rank, stream).packed()
            line = Line(sent, stream, self._clock() if time is None else time)
            self._also(line)
            self._add("logs", {"seq": number, "time": line.time, "text": line.text})

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        """Add an event."""
        self._add("events", {"type": kind, "time": self._clock(), "data": dict(data)})

    def artifact(self, kind: str, stored: Stored, step: int | None, then: Callable[[], None] = lambda: None) -> None:
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

    def _add(self, name: str, body: dict[str, Any]) -> None:
        entry = _Entry.of(body)
        with self._changed:
            self._entries[name].append(entry)

    def _is_empty(self) -> bool:
        return not (self._sending or self._progress or self._artifacts or any(self._entries.values()))

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
            except Exception:
                log.exception("outbox_failed")
            finally:
                with self._changed:
                    self._sending = False
                    self._changed.notify_all()

    def _send(self) -> None:
        while self._artifacts:
            first = self._artifacts[0]
            taken = self._was_taken(self._client.artifact, first.body)
            self._artifacts.popleft()
            if taken:
                first.then()
        batch = self._next_batch()
        if batch is not None:
            self._was_taken(self._client.progress, {**self._ids, **batch.as_json()})
            self._drop(batch)

    def _was_taken(self, tell: Callable[[dict[str, Any]], None], body: dict[str, Any]) -> bool:
        """Tell it; False when it was refused, and would be again. Raises when it is to be kept, or all is lost."""
        try:
            tell(body)
        except (Fenced, Unavailable):
            raise
        except GenctlError as error:
            log.error("word_refused: %s", error.message)
            return False
        except Exception:
            log.exception("word_not_sendable")
            return False
        return True

    def _next_batch(self) -> _Batch | None:
        """Return the oldest of each sort, as much as one post may carry; a single entry past that goes alone."""
        left = BYTES_A_POST - BYTES_AROUND
        batch: dict[str, list[_Entry]] = {name: [] for name in self._entries}
        with self._changed:
            for name, kept in self._entries.items():
                for entry in itertools.islice(kept, LINES_A_POST):
                    if entry.size > left and any(batch.values()):
                        break
                    batch[name].append(entry)
                    left -= entry.size
            if self._progress is None and not any(batch.values()):
                return None
            return _Batch(self._progress, batch)

    def _drop(self, batch: _Batch) -> None:
        with self._changed:
            if self._progress is batch.progress:
                self._progress = None
            # Compared by identity: while it was sent, the bounds may have pushed the oldest out.
            for name, entries in batch.entries.items():
                sent, kept = {id(entry) for entry in entries}, self._entries[name]
                while kept and id(kept[0]) in sent:
                    kept.popleft()

    def _forget(self) -> None:
        with self._changed:
            self._progress = None
            self._artifacts.clear()
            for kept in self._entries.values():
                kept.clear()
