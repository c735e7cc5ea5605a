"""Checkpoints written while the training goes on: by one thread, one at a time.

The state is copied at its step, on the loop's own thread; what takes long, hashing, the disk and
the store, happens behind it. A write that fails is an error of the run, raised by the next `check`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

log = logging.getLogger(__name__)


class Saver:
    """Does one write after another. Leaving its `with` block waits for the one under way."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._thread.shutdown(wait=True)
        if self._pending is not None and (failed := self._pending.exception()) is not None:
            # The error that ended the loop is the one that counts; this one is told where operators look.
            log.error("checkpoint_not_saved: %s", failed)

    def begin(self, write: Callable[[], None]) -> None:
        """Begin a write once the one before is done; raises what that one raised."""
        self.wait()
        self._pending = self._thread.submit(write)

    def check(self) -> None:
        """Raise what a write raised that is over; waits for nothing."""
        if self._pending is not None and self._pending.done():
            self.wait()

    def wait(self) -> None:
        """Wait until nothing is being written; raises what the last write raised."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()
