"""Cancel a job. Once acknowledged, nothing of it is published any more."""

from __future__ import annotations

from typing import Any

from genplatform.domain.job import ReasonCode
from genplatform.domain.states import ACTIVE_JOB_STATES, TERMINAL_JOB_STATES, JobState
from genplatform.services import lookup, present
from genplatform.services.context import Effects, Wiring
from genplatform.services.endings import cancel_job
from genplatform.services.refusals import stands


def cancel(w: Wiring, tenant: str, ref: str) -> dict[str, Any]:
    """Cancel a job and return it. One without a Run ends at once; one with a Run ends when its worker let go.

    A job that is being cancelled, or was, is left as it is. Raises Conflict for one that ended otherwise.
    """
    effects = Effects()
    with w.catalog.write() as tx:
        found = lookup.job(tx, tenant, ref)
        job = tx.jobs.by_id(tenant, found.job_id, lock=True) or found
        state = job.job_state
        if state in TERMINAL_JOB_STATES and state is not JobState.CANCELLED:
            raise stands(job, "There is nothing left to cancel.")
        if state in ACTIVE_JOB_STATES and state is not JobState.CANCELLING:
            message = "It was asked to stop; its worker lets go of it."
            tx.jobs.move(
                job.id,
                JobState.CANCELLING,
                wish=None,
                reason_code=ReasonCode.CANCELLED_BY_USER.value,
                reason_message=message,
            )
            tx.events.add(tenant, job.id, w.clock(), "cancelling", {"run": job.run})
            effects.add(lambda: w.queues.flag_stop(job.key, "cancel"))
            effects.add(w.queues.wake)
        elif state not in TERMINAL_JOB_STATES and state is not JobState.CANCELLING:
            cancel_job(w, tx, effects, job, ReasonCode.CANCELLED_BY_USER, "It was cancelled while it waited.")
        answer = present.jobs(w, tx, [tx.jobs.get(job.id)])[0]
    effects.run()
    return answer
