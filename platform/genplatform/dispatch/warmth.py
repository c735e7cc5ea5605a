"""Warmth: how many idle runners a node is to keep, by the settings and by how much was started lately."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

from genplatform.catalog import JobRow
from genplatform.domain.job import JobKind
from genplatform.domain.states import JobState
from genplatform.domain.times import Clock

# As many starts as `BUSY` within this time are worth one more runner.
RECENT_SECONDS = 300.0
BUSY = 3
# What is just starting has the machine for itself, but not for ever: where something always starts, runners help most.
STARTING_SECONDS = 10.0


class Warmth:
    """Counts starts. `runners` are kept at the least, none at all once nothing was started for `idle_after`."""

    def __init__(self, steady: Clock, runners: int = 1, idle_after: float = math.inf) -> None:
        self._steady = steady
        self._runners = runners
        self._idle_after = idle_after
        self._starts: deque[float] = deque([-math.inf] * (BUSY - 1) + [steady()], maxlen=BUSY)
        self._starting_since: float | None = None

    def note_start(self) -> None:
        """Note that something was started just now."""
        self._starts.append(self._steady())

    def wanted(self, open_jobs: Iterable[JobRow]) -> int | None:
        """Return how many a node is to keep; None while the machine is left to what is starting."""
        now = self._steady()
        if not any(job.kind == JobKind.TRAIN and job.job_state is JobState.STARTING for job in open_jobs):
            self._starting_since = None
        elif self._starting_since is None:
            self._starting_since = now
        if self._starting_since is not None and now - self._starting_since < STARTING_SECONDS:
            return None
        if not self._runners or now - self._starts[-1] > self._idle_after:
            return 0
        return self._runners + (now - self._starts[0] <= RECENT_SECONDS)
