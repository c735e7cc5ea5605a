"""A wish to stop, as it reaches a loop: from the heartbeat's answer, or from the engine."""

from __future__ import annotations

import threading

LOST = "lost"  # another Run or claim took over: stop at once, publish nothing
CANCEL = "cancel"  # a person does not want it any more: stop, keep nothing
PAUSE = "pause"  # stop after a checkpoint; it goes on later
SHUTDOWN = "shutdown"  # the platform goes down: stop after a checkpoint; it goes on at the next start
TIMEOUT = "timeout"  # the run takes too long: stop after a checkpoint
STALLED = "stalled"  # the run gets no further: stop after a checkpoint, if that is possible
DEADLINE = "deadline"  # the job's time is over: stop after a checkpoint

OUT_OF_TIME = frozenset({TIMEOUT, STALLED, DEADLINE})

_WEIGHT = {LOST: 3, CANCEL: 2, DEADLINE: 1, STALLED: 1, TIMEOUT: 1, SHUTDOWN: 1, PAUSE: 1}


class StopFlag:
    """The strongest reason to stop that has been heard; a reason once heard is never taken back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reason: str | None = None
        self._raised = threading.Event()

    def ask(self, reason: str) -> None:
        """Hear a reason; an unknown one counts as a pause, which loses nothing."""
        heard = reason if reason in _WEIGHT else PAUSE
        with self._lock:
            if self._reason is None or _WEIGHT[heard] > _WEIGHT[self._reason]:
                self._reason = heard
        self._raised.set()

    @property
    def reason(self) -> str | None:
        """Why to stop, or None to go on."""
        return self._reason

    def wait(self, seconds: float) -> bool:
        """Wait until asked to stop, at most `seconds`; tell whether asked."""
        return self._raised.wait(seconds)
