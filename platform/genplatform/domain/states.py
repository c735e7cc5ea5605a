"""The states of jobs, runs, shards and endpoints, and the one table of legal transitions.

Each member says who moves a thing into that state and who takes it out. Terminal states
absorb: nothing leaves them.
"""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    """Where a Job stands."""

    WAITING = "waiting"  # submit (a need is open) or the retry policy (back-off); the dispatcher promotes it
    QUEUED = "queued"  # submit or promotion; the dispatcher takes it out by opening a Run
    STARTING = "starting"  # the dispatcher, with the Run it opens; the worker's first word takes it out
    RUNNING = "running"  # the worker's first word; publication, failure, loss or cancel takes it out
    PAUSED = "paused"  # a person; a person resumes it
    CANCELLING = "cancelling"  # a person, while a Run is open; the dispatcher ends it once the worker let go
    SUCCEEDED = "succeeded"  # the publishing transaction; terminal
    FAILED = "failed"  # the retry policy when it gives up, or its deadline; terminal
    CANCELLED = "cancelled"  # a person, a failed need, or the end of cancelling; terminal


class RunState(StrEnum):
    """Where one numbered try of a Job stands."""

    STARTING = "starting"  # the dispatcher opened it
    RUNNING = "running"  # its worker spoke
    SUCCEEDED = "succeeded"  # it published; terminal
    FAILED = "failed"  # its worker reported an error; terminal
    LOST = "lost"  # its worker fell silent or died; terminal
    PREEMPTED = "preempted"  # it was asked to stop and will go on in another Run; terminal
    CANCELLED = "cancelled"  # its Job was cancelled; terminal


class ShardState(StrEnum):
    """Where a fixed range of a generate Job's items stands."""

    PENDING = "pending"  # planning, or the sweeper after a lost claim; a claim takes it out
    CLAIMED = "claimed"  # a worker's numbered claim; publication or the sweeper takes it out
    PUBLISHED = "published"  # the fenced publishing transaction; terminal
    FAILED = "failed"  # its claims are used up; terminal


class EndpointState(StrEnum):
    """How far the serving controller is with an Endpoint's wish."""

    PENDING = "pending"  # a person wished; not yet served
    READY = "ready"  # the wish is met
    DEGRADED = "degraded"  # it answers, with fewer replicas than its minimum or an older version
    FAILED = "failed"  # it cannot be served as wished
    DELETING = "deleting"  # a person removed it; gone when nothing serves it any more


JOB_TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    JobState.WAITING: frozenset({JobState.QUEUED, JobState.PAUSED, JobState.CANCELLED, JobState.FAILED}),
    JobState.QUEUED: frozenset({JobState.STARTING, JobState.PAUSED, JobState.CANCELLED, JobState.FAILED}),
    JobState.STARTING: frozenset(
        {
            JobState.RUNNING,
            JobState.QUEUED,
            JobState.WAITING,
            JobState.PAUSED,
            JobState.CANCELLING,
            JobState.SUCCEEDED,
            JobState.FAILED,
        }
    ),
    JobState.RUNNING: frozenset(
        {
            JobState.QUEUED,
            JobState.WAITING,
            JobState.PAUSED,
            JobState.CANCELLING,
            JobState.SUCCEEDED,
            JobState.FAILED,
        }
    ),
    JobState.PAUSED: frozenset({JobState.QUEUED, JobState.WAITING, JobState.CANCELLED, JobState.FAILED}),
    JobState.CANCELLING: frozenset({JobState.CANCELLED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}

RUN_TRANSITIONS: dict[RunState, frozenset[RunState]] = {
    RunState.STARTING: frozenset(RunState) - {RunState.STARTING},
    RunState.RUNNING: frozenset(RunState) - {RunState.STARTING, RunState.RUNNING},
    RunState.SUCCEEDED: frozenset(),
    RunState.FAILED: frozenset(),
    RunState.LOST: frozenset(),
    RunState.PREEMPTED: frozenset(),
    RunState.CANCELLED: frozenset(),
}

SHARD_TRANSITIONS: dict[ShardState, frozenset[ShardState]] = {
    ShardState.PENDING: frozenset({ShardState.CLAIMED, ShardState.FAILED}),
    ShardState.CLAIMED: frozenset({ShardState.PENDING, ShardState.PUBLISHED, ShardState.FAILED}),
    ShardState.PUBLISHED: frozenset(),
    ShardState.FAILED: frozenset(),
}

TERMINAL_JOB_STATES = frozenset(s for s, out in JOB_TRANSITIONS.items() if not out)
TERMINAL_RUN_STATES = frozenset(s for s, out in RUN_TRANSITIONS.items() if not out)
ACTIVE_JOB_STATES = frozenset({JobState.STARTING, JobState.RUNNING, JobState.CANCELLING})


def sources(target: JobState) -> frozenset[JobState]:
    """Return the states from which a Job may legally come to `target`."""
    return frozenset(s for s, out in JOB_TRANSITIONS.items() if target in out)
