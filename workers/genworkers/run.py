"""What the actors that execute one Run each have in common: their word to the platform, and how a Run ends.

Ends are exactly these: published; failed (and why); released, after a checkpoint, because it
was asked to; cancelled; lost, when a newer Run stands, and then it says nothing at all.
"""

from __future__ import annotations

import logging
import time
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from genplatform.domain import layout
from genplatform.domain.keys import RunKey
from genplatform.errors import Fenced, GenctlError, Unavailable
from genplatform.store import Store
from genworkers.actor import Actor
from genworkers.context import patiently
from genworkers.failures import Failure, explain
from genworkers.outbox import EVERY_SECONDS, Outbox
from genworkers.scratch import scratch, sweep
from genworkers.stop import CANCEL, LOST
from genworkers.transcript import Line, Transcript, unkept

log = logging.getLogger(__name__)

FLUSH_SECONDS = 120.0
LOG_SECONDS = 10.0


class OneRun(Actor):
    """Executes one Run. `join` returns its end: published, failed, released, cancelled, lost or unreachable.

    A subclass says what the work is (`_work`), which returns one of these ends. `rank` is that of the lines it says.
    """

    word_every = EVERY_SECONDS
    writes_down = False  # whether what it says in its log is kept in the store too

    def __init__(self, order: Mapping[str, Any], *, rank: int = 0) -> None:
        super().__init__(order)
        self._ids = {"job_id": order["job_id"], "run": int(order["run"])}
        self._outbox = Outbox(
            self._client,
            order["job_id"],
            int(order["run"]),
            clock=time.time,
            on_fenced=self._fenced,
            seconds=self.word_every,
            also=self._write_down,
            rank=rank,
        )
        self._transcript: Transcript | None = None

    def stop(self, reason: str) -> None:
        """Ask to stop, for a reason of `genworkers.stop`; returns at once."""
        self._stop.ask(reason)
        if self._stop.reason == LOST:
            # Nothing that this run could still deliver would be taken.
            self._client.give_up()

    @abstractmethod
    def _work(self) -> str: ...

    def _execute(self) -> str:
        self._client.started({**self._ids, "node": self._node, "worker": self._order["actor"]})
        self._heartbeat.start()
        self._outbox.start()
        sweep()
        with ExitStack() as until_the_end:
            if self.writes_down:
                self._transcript = self._begin_transcript(until_the_end)
            return self._guarded()

    def _begin_transcript(self, until_the_end: ExitStack) -> Transcript | None:
        try:
            folder = until_the_end.enter_context(scratch("log"))
        except OSError as error:
            self._outbox.log(unkept(error))
            return None
        return Transcript(folder)

    def _guarded(self) -> str:
        try:
            return self._work()
        except Fenced:
            raise
        except BaseException as error:
            if self._stop.reason == LOST:
                return "lost"
            log.exception("run_failed")
            return self._fail(explain(error, "the run's log (genctl logs)"))
        finally:
            self._outbox.close()

    def _say(self, failure: Failure, seconds: float = FLUSH_SECONDS) -> bool:
        """Say why the work ended, and tell whether that was delivered within so many seconds."""
        for line in failure.last_lines:
            self._outbox.log(line)
        self._outbox.log(f"Failed: {failure.message}")
        self._keep_what_was_said()
        return self._outbox.flush(seconds)

    def _fail(self, failure: Failure, *, said: bool = False) -> str:
        if not said:
            self._say(failure)
        self._client.failed({**self._ids, "shard": None, "claim": None, **failure.as_json()})
        return "failed"

    def _let_go(self, reason: str, step: int | None) -> str:
        if reason == LOST:
            return "lost"
        self._keep_what_was_said()
        self._deliver()
        self._client.released({**self._ids, "reason": reason, "step": step})
        return "cancelled" if reason == CANCEL else "released"

    def _write_down(self, line: Line) -> None:
        if self._transcript is not None:
            self._transcript.add(line)

    def _keep_what_was_said(self) -> None:
        """Store what the Run said until now; once, before its end, for its log is one object."""
        transcript, self._transcript = self._transcript, None
        if transcript is None:
            return
        whole = transcript.close()
        if transcript.failed is not None:
            self._outbox.log(unkept(transcript.failed))
        if whole is not None and self._stop.reason != LOST:
            self._keep_log(whole, Store(self._order["store_url"]))

    def _keep_log(self, transcript: Path, store: Store) -> None:
        """Store a log; a Run is no worse for one that cannot be kept."""
        key = layout.log(RunKey(self._order["tenant"], self._order["job_id"], int(self._order["run"])))
        try:
            stored = patiently(lambda: store.put_file(transcript, key), LOG_SECONDS)
        except GenctlError as error:
            self._outbox.log(unkept(error.message))
        else:
            self._outbox.artifact("log", stored, None)

    def _deliver(self) -> None:
        """Have all word of the run delivered before its last, which closes it."""
        if not self._outbox.flush(FLUSH_SECONDS) and self._stop.reason != LOST:
            raise Unavailable(
                f"The platform at {self._order['api_url']} did not take the run's last word within "
                f"{FLUSH_SECONDS:.0f} s.",
                "See that its API is up (genctl status); the run goes on from its last checkpoint.",
            )

    def _alive(self) -> dict[str, Any]:
        return {"worker": self._order["actor"], "node": self._node, "runs": [self._ids], "claims": []}

    def _told_to_stop(self, entry: Mapping[str, Any]) -> None:
        if entry.get("job_id") == self._ids["job_id"] and entry.get("run") == self._ids["run"]:
            self.stop(str(entry.get("reason")))

    def _fenced(self) -> None:
        self.stop(LOST)
