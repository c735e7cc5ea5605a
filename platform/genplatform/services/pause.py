"""Pause a job: it gives its workers up, keeps what it made, and goes on when a person resumes it.

    waiting | queued ──────────────────────────────────────────────────────────> paused
    starting | running, generate ──(its Run is closed: claims are void)────────> paused
    starting | running, train ──> asked to pause ──(a checkpoint, its release)─> paused
                                       │
                                       ├──(it publishes first)──> succeeded: the pause comes too late
                                       └──(it fails by itself)──> failed

No try is spent on it. Whatever else ends the Run of a job that was asked to pause (its node is
lost, its worker does not let go in time and is ended) pauses it as well.
"""

from __future__ import annotations

from typing import Any

from genplatform.catalog import JobRow, Transaction
from genplatform.domain.job import JobKind, ReasonCode, Wish
from genplatform.domain.retry import Cause
from genplatform.domain.states import JobState
from genplatform.services import lookup, present
from genplatform.services.context import Effects, Wiring
from genplatform.services.endings import Ending, end_run, pause_job
from genplatform.services.refusals import stands


def pause(w: Wiring, tenant: str, ref: str) -> dict[str, Any]:
    """Pause a job and return it as it then stands: `paused`, or at work with the reason `pausing`.

    A job that is paused, or was asked to pause, is left as it is. Raises Conflict for one that
    ended or is being cancelled.
    """
    effects = Effects()
    with w.catalog.write() as tx:
        found = lookup.job(tx, tenant, ref)
        job = tx.jobs.by_id(tenant, found.job_id, lock=True) or found
        _pause(w, tx, effects, job)
        answer = present.jobs(w, tx, [tx.jobs.get(job.id)])[0]
    effects.run()
    return answer


def _pause(w: Wiring, tx: Transaction, effects: Effects, job: JobRow) -> None:
    match job.job_state:
        case JobState.WAITING | JobState.QUEUED:
            pause_job(w, tx, effects, job, "It was paused while it waited.", job.run_at)
        case JobState.STARTING | JobState.RUNNING:
            if job.wish != Wish.PAUSE:
                _pause_run(w, tx, effects, job)
        case JobState.PAUSED:
            return
        case _:
            raise stands(job, "There is nothing left to pause.")


def _pause_run(w: Wiring, tx: Transaction, effects: Effects, job: JobRow) -> None:
    message = "It was asked to pause; it saves a checkpoint first."
    why = {"reason_code": ReasonCode.PAUSING.value, "reason_message": message}
    tx.jobs.touch(job.id, run=job.run, wish=Wish.PAUSE.value, **why)
    tx.events.add(job.tenant_id, job.id, w.clock(), "pausing", {"run": job.run})
    if job.kind == JobKind.GENERATE:
        # What its workers hold is void from here on; what they published stays, and is not made again.
        end_run(w, tx, effects, tx.jobs.get(job.id), Ending(Cause.PAUSED, "It was paused."))
        return
    effects.add(lambda: w.queues.flag_stop(job.key, "pause"))
    effects.add(w.queues.wake)
