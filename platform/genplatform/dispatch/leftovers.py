"""Leftovers: files that no row refers to, swept once nobody can be writing them any more."""

from __future__ import annotations

import math
from collections.abc import Sequence

from genplatform.catalog import JobRow
from genplatform.domain.job import JobKind
from genplatform.services import finish, reconcile
from genplatform.services.context import Wiring

# A worker that lost its claim hears of it with its next heartbeat; until then it may still write.
OUTPUTS_AFTER = 30.0
# How far back a dispatcher that takes over looks for jobs that ended without it.
LOOK_BACK = 24 * 3600.0
# A half-written object that nobody touched for so long has no writer any more.
STAGED_AFTER = 3600.0
STAGED_EVERY = 600.0


class Leftovers:
    """Which jobs ended a while ago, and when the store's own half-written files were looked at."""

    def __init__(self, w: Wiring) -> None:
        self._w = w
        self._open: dict[int, JobRow] = {}
        self._ended: dict[int, tuple[float, JobRow]] = {}
        self._looked = -math.inf

    def take_over(self) -> None:
        """Remember the generate jobs that ended lately, whoever led then."""
        lately = reconcile.ended_since(self._w, self._w.clock() - LOOK_BACK)
        self._ended = {job.id: (self._w.steady(), job) for job in lately}

    def note(self, open_jobs: Sequence[JobRow]) -> None:
        """Remember generate jobs whose Run is over."""
        open_now = {job.id: job for job in open_jobs if job.kind == JobKind.GENERATE}
        for pk in self._open.keys() - open_now.keys():
            self._ended[pk] = (self._w.steady(), self._open[pk])
        self._open = open_now

    def sweep(self) -> None:
        """Remove what lost claims and killed writers left."""
        now = self._w.steady()
        ripe = [job for at, job in self._ended.values() if now - at > OUTPUTS_AFTER]
        for job in ripe:
            # One that goes on in another Run is noted again; one that waits for it is looked at later.
            if job.id in self._open or finish.sweep(self._w, job) is not None:
                del self._ended[job.id]
        if now - self._looked > STAGED_EVERY:
            self._looked = now
            self._w.store.sweep(self._w.clock() - STAGED_AFTER)
