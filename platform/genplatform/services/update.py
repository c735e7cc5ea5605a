"""Update a job that has not ended: its priority."""

from __future__ import annotations

from typing import Any

from genplatform.domain.job import HIGHEST_PRIORITY
from genplatform.domain.states import TERMINAL_JOB_STATES, JobState
from genplatform.errors import BadRequest
from genplatform.services import lookup, present
from genplatform.services.context import Effects, Wiring
from genplatform.services.refusals import stands


def update(w: Wiring, tenant: str, ref: str, *, priority: int) -> dict[str, Any]:
    """Give a job another priority and return it; the line has it at once, a Run that is open goes on as it is.

    Raises Conflict for one that has ended.
    """
    if not 0 <= priority <= HIGHEST_PRIORITY:
        raise BadRequest(f"The priority {priority} is out of bounds.", f"Give 0 to {HIGHEST_PRIORITY}.")
    effects = Effects()
    with w.catalog.write() as tx:
        found = lookup.job(tx, tenant, ref)
        job = tx.jobs.by_id(tenant, found.job_id, lock=True) or found
        if job.job_state in TERMINAL_JOB_STATES:
            raise stands(job, "Its priority matters to nobody any more.")
        if job.priority != priority:
            tx.jobs.touch(job.id, priority=priority)
            tx.events.add(tenant, job.id, w.clock(), "updated", {"priority": priority, "before": job.priority})
            if job.job_state is JobState.QUEUED:
                effects.add(lambda: w.queues.submit([job.key]))
        answer = present.jobs(w, tx, [tx.jobs.get(job.id)])[0]
    effects.run()
    return answer
