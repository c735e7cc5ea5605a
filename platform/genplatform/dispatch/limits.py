"""Limits of time, kept: Jobs that are past their deadline, Runs that take too long, Runs that get no further.

Deadlines and timeouts are facts of the clock: they are kept whatever can be reached. That a Run
gets no further is only known while its worker would be heard (`dispatch/hearing.py`) and the
engine answers; a dispatcher that takes over finds in the record when it last did. A report that
is lost with Redis is followed by the next one: a `progress_timeout` of two steps is safe from that.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from genplatform.catalog import JobRow
from genplatform.dispatch.hearing import Hearing
from genplatform.dispatch.jumps import Jumps
from genplatform.dispatch.pools import Pools
from genplatform.dispatch.stopping import if_reached
from genplatform.domain.job import JobKind
from genplatform.domain.keys import RunKey
from genplatform.domain.retry import Cause
from genplatform.domain.states import JobState
from genplatform.engine.seam import Engine
from genplatform.services import limits, reconcile
from genplatform.services.context import Wiring
from genplatform.services.endings import Ending, close_run

log = logging.getLogger(__name__)

# So long a worker that was asked to stop has for its checkpoint.
GRACE_SECONDS = 20.0
# So often it is looked whose deadline has passed while it waits; rounds may follow each other within milliseconds.
LOOK_SECONDS = 0.25

# Makes the ending of a job's Run, with a further sentence.
HowItEnds = Callable[[JobRow, str], Ending]


class Limits:
    """Asks Runs that are over their time to stop, and ends those that do not."""

    def __init__(self, w: Wiring, engine: Engine, pools: Pools, hearing: Hearing, jumps: Jumps) -> None:
        self._w = w
        self._engine = engine
        self._pools = pools
        self._hearing = hearing
        self._jumps = jumps
        self._looked = -math.inf
        self._asked: dict[RunKey, float] = {}
        self._times: dict[int, limits.Times] = {}

    def keep(self, term: int, open_jobs: Sequence[JobRow]) -> None:
        """Fail what waits past its deadline, and bring Runs that are over their time to their end."""
        now = self._w.steady()
        if now - self._looked >= LOOK_SECONDS:
            failed = limits.fail_overdue(self._w, term)
            self._looked = -math.inf if failed else now  # where there were some, there may be more
            for key in failed:
                log.info("deadline_passed", extra={"job": key.job_id})
        at_work = [job for job in open_jobs if job.job_state is not JobState.CANCELLING]
        self._times = {job.id: self._times.get(job.id) or limits.times(job) for job in at_work}
        over = self._over(at_work)
        self._asked = {key: at for key, at in self._asked.items() if key in {job.run_key for job, _ in over}}
        for job, how in over:
            self._end(term, job, how)

    def _over(self, at_work: Sequence[JobRow]) -> list[tuple[JobRow, HowItEnds]]:
        """Return the jobs at work whose time, or whose Run's time, is over."""
        now = self._w.clock()
        limited = [job for job in at_work if self._times[job.id].run is not None]
        began = limits.began(self._w, limited)
        stuck = self._stuck(at_work)
        found: list[tuple[JobRow, HowItEnds]] = []
        for job in at_work:
            longest = self._times[job.id].run
            if job.deadline_at is not None and job.deadline_at <= now:
                found.append((job, limits.overdue))
            elif longest is not None and job.id in began and self._jumps.since(began[job.id]) > longest:
                found.append((job, limits.timed_out))
            elif job.id in stuck:
                found.append((job, limits.stalled))
        return found

    def _stuck(self, at_work: Sequence[JobRow]) -> set[int]:
        """Return the jobs, by inside key, of which something is being done that gets no further."""
        now = self._w.steady()
        still = [
            job
            for job in at_work
            if job.job_state is JobState.RUNNING
            and job.progressed_at is not None
            and self._jumps.since(job.progressed_at) > (self._times[job.id].progress or float("inf"))
            and self._hearing.hears(job.key, now)
        ]
        # A generate job of which no worker has a shard waits for others' work in its pool.
        generating = [job for job in still if job.kind == JobKind.GENERATE]
        worked_on = {claim.job for claim in reconcile.claims_of(self._w, generating)} if generating else set()
        return {job.id for job in still if job.kind != JobKind.GENERATE or job.key in worked_on}

    def _end(self, term: int, job: JobRow, how: HowItEnds) -> None:
        if job.kind == JobKind.GENERATE:
            self._end_claims(term, job, how(job, ""))
            return
        now, key, cause = self._w.steady(), job.run_key, how(job, "").cause
        if key not in self._asked:
            with _reach(cause):
                self._engine.stop(key.actor, cause.value)
            self._asked[key] = now
        elif now - self._asked[key] > GRACE_SECONDS:
            with _reach(cause):
                self._engine.kill(key.actor)
            self._close(term, job, how(job, f"Its worker was ended after {GRACE_SECONDS:.0f} s of grace."))

    def _end_claims(self, term: int, job: JobRow, ending: Ending) -> None:
        """Close a generate job's Run: what its workers hold is void from here on, what they published stays.

        A worker that got no further with it is not fit for the next shard either.
        """
        stuck = set(reconcile.claims_of(self._w, [job]).values()) if ending.cause is Cause.STALLED else set()
        for worker in sorted(stuck):
            with _reach(ending.cause):
                self._engine.kill(worker)
            self._pools.forget(worker)
        self._close(term, job, ending)

    def _close(self, term: int, job: JobRow, ending: Ending) -> None:
        reached = close_run(self._w, job.run_key, ending, term=term)
        if reached is not None:
            said = {"job": job.job_id, "run": job.run, "cause": ending.cause.value, "job_state": reached.value}
            log.info("run_closed", extra=said)


def _reach(cause: Cause) -> AbstractContextManager[None]:
    """Ask the engine: one that does not answer leaves open whether a worker is stuck, and holds up no clock."""
    return nullcontext() if cause is Cause.STALLED else if_reached()
