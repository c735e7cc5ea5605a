"""Why a verb is refused: where the job stands, in words."""

from __future__ import annotations

from genplatform.catalog import JobRow
from genplatform.domain.states import JobState
from genplatform.errors import Conflict

_SAID = {
    JobState.CANCELLING: "is being cancelled",
    JobState.SUCCEEDED: "has succeeded already",
    JobState.FAILED: "has failed already",
    JobState.CANCELLED: "was cancelled already",
}


def stands(job: JobRow, hint: str) -> Conflict:
    """Return the error that says where a job stands, because what was asked cannot be done there."""
    said = _SAID.get(job.job_state, f"is {job.state}")
    return Conflict(f"Job {job.job_id} ({job.name}) {said}.", hint)
