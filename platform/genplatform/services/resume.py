"""Resume a paused job: it takes its place in the line again, and goes on from what it kept.

A pause that is not done yet is taken back. The worker may have heard of it all the same: then
it lets go, and the job is queued again at once.
"""

from __future__ import annotations

from typing import Any

from genplatform.catalog import JobRow, Transaction
from genplatform.domain.job import ReasonCode
from genplatform.domain.states import TERMINAL_JOB_STATES, JobState
from genplatform.services import lookup, present
from genplatform.services.context import Effects, Wiring
from genplatform.services.refusals import stands


def resume(w: Wiring, tenant: str, ref: str) -> dict[str, Any]:
    """Resume a job and return it: `queued`, or `waiting` while it needs others or its back-off lasts.

    A job that is neither paused nor asked to pause is left as it is. Raises Conflict for one that
    ended or is being cancelled.
    """
    effects = Effects()
    with w.catalog.write() as tx:
        found = lookup.job(tx, tenant, ref)
        job = tx.jobs.by_id(tenant, found.job_id, lock=True) or found
        state = job.job_state
        if state in TERMINAL_JOB_STATES or state is JobState.CANCELLING:
            raise stands(job, "There is nothing left to resume.")
        if state is JobState.PAUSED:
            _go_on(w, tx, effects, job)
        elif job.wish is not None:
            _take_back(w, tx, effects, job)
        answer = present.jobs(w, tx, [tx.jobs.get(job.id)])[0]
    effects.run()
    return answer


def _go_on(w: Wiring, tx: Transaction, effects: Effects, job: JobRow) -> None:
    now = w.clock()
    to, run_at = JobState.WAITING, None
    why: dict[str, Any] = {"reason_code": None, "reason_message": None}
    if job.open_needs > 0:
        names = [n.name for n in tx.jobs.needs_of(job.id) if n.job_state is not JobState.SUCCEEDED]
        why = {"reason_code": ReasonCode.NEEDS_JOB.value, "reason_message": f"It waits for {', '.join(names)}."}
    elif job.run_at is not None and job.run_at > now:
        run_at = job.run_at
        why = {"reason_code": ReasonCode.BACKING_OFF.value, "reason_message": "It waits for its next try."}
    else:
        to = JobState.QUEUED
        effects.add(lambda: w.queues.submit([job.key]))
    tx.jobs.move(job.id, to, only_from={JobState.PAUSED}, run_at=run_at, **why)
    tx.events.add(job.tenant_id, job.id, now, to.value, {"after": JobState.PAUSED.value})


def _take_back(w: Wiring, tx: Transaction, effects: Effects, job: JobRow) -> None:
    tx.jobs.touch(job.id, run=job.run, wish=None, reason_code=None, reason_message=None)
    tx.events.add(job.tenant_id, job.id, w.clock(), "pause_taken_back", {"run": job.run})
    effects.add(lambda: w.queues.clear_stop(job.key))
