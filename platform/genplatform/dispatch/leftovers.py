"""Leftovers: files that no row refers to, swept once nobody can be writing them any more.

The record says which jobs ended and in which order; this goes down it behind them, so much at a
time, and remembers no more than how far it came.
"""

from __future__ import annotations

import logging
import math

from genplatform.catalog import EndedRow
from genplatform.errors import GenctlError, Unavailable
from genplatform.services import finish
from genplatform.services.context import Wiring

log = logging.getLogger(__name__)

# A worker that lost its claim hears of it with its next heartbeat; until then it may still write.
OUTPUTS_AFTER = 30.0
# How far back a dispatcher that takes over looks for jobs that ended without it.
LOOK_BACK = 24 * 3600.0
# Ended jobs passed in one sweep, and how many of them have their files listed.
MOST_PASSED = 200
MOST_LISTED = 20
# A half-written object that nobody touched for so long has no writer any more.
STAGED_AFTER = 3600.0
STAGED_EVERY = 600.0


class Leftovers:
    """How far the ended jobs were swept, and when the store's own half-written files were looked at."""

    def __init__(self, w: Wiring) -> None:
        self._w = w
        self._swept = (0.0, 0)
        self._looked = -math.inf

    def take_over(self) -> None:
        """Go back to the jobs that ended lately, whoever led then."""
        self._swept = (self._w.clock() - LOOK_BACK, 0)

    def sweep(self) -> None:
        """Remove what lost claims and killed writers left."""
        now = self._w.clock()
        ended = finish.ended(self._w, self._swept, now - OUTPUTS_AFTER, MOST_PASSED)
        unclean = finish.with_lost_claims(self._w, ended)
        listed = 0
        for job in ended:
            if job.id in unclean:
                if listed == MOST_LISTED:
                    break
                listed += 1
                self._sweep(job)
            self._swept = (job.finished_at, job.id)
        if self._w.steady() - self._looked > STAGED_EVERY:
            self._looked = self._w.steady()
            self._w.store.sweep(now - STAGED_AFTER)

    def _sweep(self, job: EndedRow) -> None:
        try:
            finish.sweep(self._w, job.id, job.key)
        except Unavailable:
            raise
        except GenctlError as error:
            # What cannot be removed here must not keep what can be removed elsewhere.
            log.error("leftovers_not_swept", extra={"job": job.job_id, "detail": error.message})
