"""Limits of time: how long a Run may take, how long it may get no further, and when its Job must have ended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from genplatform.catalog import JobRow
from genplatform.domain.job import ReasonCode
from genplatform.domain.keys import JobKey
from genplatform.domain.retry import Cause
from genplatform.domain.states import ACTIVE_JOB_STATES, TERMINAL_JOB_STATES, JobState
from genplatform.domain.times import rfc3339
from genplatform.errors import BadSpec
from genplatform.services.context import Effects, Wiring
from genplatform.services.endings import Ending, fail_job
from genplatform.services.leadership import led
from genplatform.spec import parse_stored
from genplatform.spec.durations import said

RESTING = frozenset(JobState) - ACTIVE_JOB_STATES - TERMINAL_JOB_STATES
# So many jobs without a Run are failed at once by their deadlines; the others have their turn with the next tick.
BATCH = 200


@dataclass(frozen=True)
class Times:
    """What a Job's spec allows each of its Runs, in seconds."""

    run: float | None = None
    progress: float | None = None


def times(job: JobRow) -> Times:
    """Return what a Job allows its Runs; any time when an older version wrote its spec: opening its Run says so."""
    try:
        spec = parse_stored(job.spec)
    except BadSpec:
        return Times()
    return Times(spec.timeout, spec.progress_timeout)


def began(w: Wiring, jobs: Iterable[JobRow]) -> dict[int, float]:
    """Return, a Job's inside key, when its current Run's worker said its first word; nothing for one that did not."""
    numbers = {job.id: job.run for job in jobs}
    if not numbers:
        return {}
    with w.catalog.read() as tx:
        return tx.runs.started(numbers)


def timed_out(job: JobRow, more: str = "") -> Ending:
    """Return how a Run ends that took longer than its Job allows."""
    limit = times(job).run
    took = f"It took longer than {said(limit)}, the `timeout` of a run." if limit else "It took longer than it may."
    return Ending(Cause.TIMEOUT, f"{took} {more}".strip(), "Give it a longer `timeout`, or less to do.")


def stalled(job: JobRow, more: str = "") -> Ending:
    """Return how a Run ends whose worker lives and got no further for longer than its Job allows."""
    limit = times(job).progress
    message = f"It got no further for {said(limit)}, its `progress_timeout`." if limit else "It got no further."
    hint = "Its log may say what it waits for; give it a longer `progress_timeout` if its steps take so long."
    return Ending(Cause.STALLED, f"{message} {more}".strip(), hint)


def overdue(job: JobRow, more: str = "") -> Ending:
    """Return how a Job ends that has not ended by its deadline."""
    at = f", {rfc3339(job.deadline_at)}" if job.deadline_at is not None else ""
    message = f"It had not ended by its deadline{at}. {more}".strip()
    hint = "What it published until then stays. Submit it again with a later `deadline`."
    return Ending(Cause.DEADLINE, message, hint, ReasonCode.DEADLINE.value, final=True)


def fail_overdue(w: Wiring, term: int) -> list[JobKey]:
    """Fail the Jobs without a Run whose deadlines have passed, at most BATCH of them; returns them."""
    with w.catalog.read() as tx:
        found = tx.jobs.overdue(RESTING, w.clock(), BATCH)
    if not found:
        return []
    effects = Effects()
    failed: list[JobKey] = []
    with led(w, term) as tx:
        tx.jobs.held([job.key for job in found])
        for key in sorted(job.key for job in found):
            job = tx.jobs.by_id(key.tenant, key.job_id)
            # It may have been started, or cancelled, since it was looked at.
            if job is not None and job.job_state in RESTING and job.deadline_at is not None:
                fail_job(w, tx, effects, job, overdue(job))
                failed.append(key)
    effects.run()
    return failed
