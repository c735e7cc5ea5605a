"""Limits of time, kept: Jobs that are past their deadline, and Runs that take too long."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from genplatform.catalog import JobRow
from genplatform.dispatch.stopping import if_reached
from genplatform.domain.job import JobKind
from genplatform.domain.keys import RunKey
from genplatform.domain.states import JobState
from genplatform.engine.seam import Engine
from genplatform.services import limits
from genplatform.services.context import Wiring
from genplatform.services.endings import Ending, close_run

log = logging.getLogger(__name__)

# So long a worker that was asked to stop has for its checkpoint.
GRACE_SECONDS = 20.0


class Limits:
    """Asks Runs that are over their time to stop, and ends those that do not."""

    def __init__(self, w: Wiring, engine: Engine) -> None:
        self._w = w
        self._engine = engine
        self._asked: dict[RunKey, float] = {}
        self._times: dict[int, limits.Times] = {}

    def keep(self, term: int, open_jobs: Sequence[JobRow]) -> None:
        """Fail what waits past its deadline, and bring Runs that are over their time to their end."""
        for key in limits.fail_overdue(self._w, term):
            log.info("deadline_passed", extra={"job": key.job_id})
        self._times = {job.id: self._times.get(job.id) or limits.times(job) for job in open_jobs}
        over = self._over(open_jobs)
        self._asked = {key: at for key, at in self._asked.items() if key in {job.run_key for job, _ in over}}
        for job, ending in over:
            self._end(term, job, ending)

    def _over(self, open_jobs: Sequence[JobRow]) -> list[tuple[JobRow, Callable[[JobRow, str], Ending]]]:
        """Return the jobs at work whose time, or whose Run's time, is over."""
        now = self._w.clock()
        at_work = [job for job in open_jobs if job.job_state is not JobState.CANCELLING]
        late = {job.id for job in at_work if job.deadline_at is not None and job.deadline_at <= now}
        limits_ = {job.id: limit for job in at_work if (limit := self._times[job.id].run) is not None}
        began = limits.began(self._w, [job for job in at_work if job.id in limits_])
        slow = {pk for pk, at in began.items() if now - at > limits_[pk]}
        return [
            (job, limits.overdue if job.id in late else limits.timed_out) for job in at_work if job.id in late | slow
        ]

    def _end(self, term: int, job: JobRow, ending: Callable[[JobRow, str], Ending]) -> None:
        now, key = self._w.clock(), job.run_key
        if job.kind == JobKind.GENERATE:
            # What its workers hold is void from here on; what they published stays.
            self._close(term, job, ending(job, ""))
        elif key not in self._asked:
            with if_reached():
                self._engine.stop(key.actor, ending(job, "").cause.value)
            self._asked[key] = now
        elif now - self._asked[key] > GRACE_SECONDS:
            with if_reached():
                self._engine.kill(key.actor)
            self._close(term, job, ending(job, f"Its worker was ended after {GRACE_SECONDS:.0f} s of grace."))

    def _close(self, term: int, job: JobRow, ending: Ending) -> None:
        reached = close_run(self._w, job.run_key, ending, term=term)
        if reached is not None:
            said = {"job": job.job_id, "run": job.run, "cause": ending.cause.value, "job_state": reached.value}
            log.info("run_closed", extra=said)
