"""How a Run ends without publishing, and what becomes of its Job and of those that need it.

    a Run is open ──(its worker fails, falls silent, is stopped)──> the Run is closed
         │                                                             │ RetryPolicy
         ├── the Job was being cancelled ──> cancelled                 ├──> queued | waiting (another Run)
         └── the Job was asked to pause ───> paused                    └──> failed ──> dependents cancelled

Nothing is closed twice: every step is conditional on the Run still being the current one.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from genplatform.catalog import JobRow, Transaction
from genplatform.domain.job import JobKind, ReasonCode, Wish
from genplatform.domain.keys import ClaimKey, RunKey
from genplatform.domain.retry import Cause, Decision, RetryPolicy
from genplatform.domain.states import ACTIVE_JOB_STATES, JobState, RunState, ShardState
from genplatform.domain.times import rfc3339
from genplatform.errors import BadSpec, LostLeadership
from genplatform.services import poison
from genplatform.services.context import Effects, Wiring
from genplatform.spec import parse_stored, retry_policy

RUN_ENDS = {
    Cause.NODE_LOST: RunState.LOST,
    Cause.PREEMPTED: RunState.PREEMPTED,
    Cause.PAUSED: RunState.PREEMPTED,
    Cause.SHUTDOWN: RunState.PREEMPTED,
    Cause.CANCELLED: RunState.CANCELLED,
}


@dataclass(frozen=True)
class Ending:
    """Why a Run ended, for the record and for people."""

    cause: Cause
    message: str
    hint: str = ""
    code: str = ""  # the job's error code where it differs from the cause
    final: bool = False  # another try would end the same, whatever the spec says of its cause
    died: bool = False  # its worker ended without a word, and not with its whole node

    def said(self) -> dict[str, Any]:
        """Return the words of it that an event keeps."""
        return {"cause": self.cause.value, "message": self.message, "worker_died": self.died}


def close_run(w: Wiring, key: RunKey, ending: Ending, *, term: int | None = None) -> JobState | None:
    """Close a Run; returns the state its Job came to, None when the Run was not the current one any more.

    A dispatcher gives its `term` and gets LostLeadership when that is over.
    """
    effects = Effects()
    with w.catalog.write() as tx:
        if term is not None and not tx.leaders.hold(term):
            raise LostLeadership(f"Term {term} is over.", "")
        job = tx.jobs.by_id(key.tenant, key.job_id, lock=True)
        if job is None or job.run != key.run or job.job_state not in ACTIVE_JOB_STATES:
            return None
        reached = end_run(w, tx, effects, job, ending)
    effects.run()
    return reached


def end_run(w: Wiring, tx: Transaction, effects: Effects, job: JobRow, ending: Ending) -> JobState:
    """Close the current Run of a locked, active Job within a transaction."""
    now = w.clock()
    cancelling = job.job_state is JobState.CANCELLING
    cause = Cause.CANCELLED if cancelling else ending.cause
    state = RUN_ENDS.get(cause, RunState.FAILED)
    decision = decide(w, tx, job, ending)
    tx.runs.move(job.id, job.run, state, cause=cause.value, message=ending.message, finished_at=now)
    _give_up_claims(w, tx, effects, job)
    _forget_run(w, effects, job)
    said = {"run": job.run, "state": state.value, "safe": poison.safe(tx, job)} | ending.said() | {"cause": cause.value}
    tx.events.add(job.tenant_id, job.id, now, "run_ended", said)
    if cancelling:
        cancel_job(w, tx, effects, job, ReasonCode.CANCELLED_BY_USER, "It was cancelled.")
        return JobState.CANCELLED
    if job.wish == Wish.PAUSE and not _is_of_the_job(ending):
        run_at = now + decision.delay if decision.retry and decision.delay else None
        pause_job(w, tx, effects, job, f"It is paused. {ending.message}", run_at)
        return JobState.PAUSED
    if not decision.retry:
        fail_job(w, tx, effects, job, _last(tx, job, ending, decision))
        return JobState.FAILED
    return _try_again(w, tx, effects, job, ending, decision)


def decide(w: Wiring, tx: Transaction, job: JobRow, ending: Ending) -> Decision:
    """Decide what would follow the current Run if it ended so."""
    if ending.final:
        return Decision(False, 0.0, ending.code or ending.cause.value, ending.message)
    ended = tx.runs.ended_by_cause(job.id)
    ended[ending.cause] = ended.get(ending.cause, 0) + 1
    return policy(job).decide(ending.cause, ended, w.jitter())


def _is_of_the_job(ending: Ending) -> bool:
    """Tell whether the job itself is what ended the Run: it fails then, also when a person asked it to pause."""
    return ending.final or ending.cause is Cause.USER_ERROR


def _last(tx: Transaction, job: JobRow, ending: Ending, decision: Decision) -> Ending:
    """Return the ending of a job's last Run, already on record, with what is to be said of the tries it used up."""
    if ending.final:
        return ending
    if ending.cause is Cause.NODE_LOST and ending.died:
        poisoned = poison.runs_that_died(tx, job, decision.budget or 0)
        if poisoned:
            return replace(ending, message=f"{poisoned} {ending.message}", code=ReasonCode.POISONED.value)
    return replace(ending, message=f"{ending.message} {decision.message}".rstrip())


def policy(job: JobRow) -> RetryPolicy:
    """Return when a Job is tried again."""
    try:
        return retry_policy(parse_stored(job.spec))
    except BadSpec:
        return RetryPolicy()  # an older version wrote it: its Runs must end all the same


def _try_again(
    w: Wiring, tx: Transaction, effects: Effects, job: JobRow, ending: Ending, decision: Decision
) -> JobState:
    now = w.clock()
    to = JobState.WAITING if decision.delay else JobState.QUEUED
    run_at = now + decision.delay if decision.delay else None
    # Only a job that waits backs off; one that is queued at once says what ended its Run.
    code = decision.code if decision.delay else ending.cause.value
    message = f"{ending.message} {decision.message}"
    if run_at is not None:
        message += f" It goes on at {rfc3339(run_at)}."
    tx.jobs.move(job.id, to, run=job.run, run_at=run_at, rate=None, reason_code=code, reason_message=message)
    said: dict[str, Any] = {
        "after_run": job.run,
        "cause": ending.cause.value,
        "delay_seconds": round(decision.delay, 3),
    }
    said |= {"tries": decision.tries, "budget": decision.budget, "retry_at": rfc3339(run_at)}
    tx.events.add(job.tenant_id, job.id, now, "retrying", said)
    if to is JobState.QUEUED:
        effects.add(lambda: w.queues.submit([job.key]))
    return to


def pause_job(
    w: Wiring, tx: Transaction, effects: Effects, job: JobRow, message: str, run_at: float | None = None
) -> None:
    """Bring a Job to `paused`; `run_at` is kept for it, for a back-off goes on while it is paused."""
    tx.jobs.move(
        job.id,
        JobState.PAUSED,
        run=job.run,
        reason_code=ReasonCode.PAUSED.value,
        reason_message=message,
        run_at=run_at,
        rate=None,
    )
    tx.events.add(job.tenant_id, job.id, w.clock(), "paused", {"run": job.run, "message": message})
    effects.add(lambda: w.queues.clear_stop(job.key))


def fail_job(w: Wiring, tx: Transaction, effects: Effects, job: JobRow, ending: Ending) -> None:
    """Fail a Job, and cancel those that need it."""
    now = w.clock()
    code = ending.code or ending.cause.value
    tx.jobs.move(
        job.id,
        JobState.FAILED,
        run=job.run,
        reason_code=code,
        reason_message=ending.message,
        error_code=code,
        error_message=ending.message,
        error_hint=ending.hint,
        finished_at=now,
        rate=None,
    )
    tx.events.add(job.tenant_id, job.id, now, "failed", {"code": code, "message": ending.message, "hint": ending.hint})
    _cancel_dependents(w, tx, effects, job, "failed")


def cancel_job(w: Wiring, tx: Transaction, effects: Effects, job: JobRow, code: ReasonCode, message: str) -> None:
    """Bring a Job to `cancelled`, and those that need it."""
    if _cancel_one(w, tx, effects, job, code, message):
        _cancel_dependents(w, tx, effects, job, "was cancelled")


def _cancel_one(w: Wiring, tx: Transaction, effects: Effects, job: JobRow, code: ReasonCode, message: str) -> bool:
    now = w.clock()
    if not tx.jobs.move(
        job.id,
        JobState.CANCELLED,
        run=job.run,
        reason_code=code.value,
        reason_message=message,
        finished_at=now,
        run_at=None,
        rate=None,
    ):
        return False
    tx.events.add(job.tenant_id, job.id, now, "cancelled", {"code": code.value, "message": message})
    effects.add(lambda: w.queues.clear_stop(job.key))
    return True


def succeed_job(w: Wiring, tx: Transaction, effects: Effects, job: JobRow, **values: Any) -> bool:
    """Bring a running Job to `succeeded` under its fence and release those that wait for it."""
    return bool(succeed_jobs(w, tx, effects, [job], **values))


def succeed_jobs(w: Wiring, tx: Transaction, effects: Effects, jobs: Sequence[JobRow], **values: Any) -> list[JobRow]:
    """Bring running Jobs to `succeeded`, each under its own fence, and release those that wait for them.

    All are given the same `values`. Returns those that succeeded, oldest first.
    """
    now = w.clock()
    changes = {"finished_at": now, "reason_code": None, "reason_message": None, "rate": None} | values
    tx.jobs.lock([job.id for job in jobs])
    runs: dict[int, list[int]] = defaultdict(list)
    for job in jobs:
        runs[job.run].append(job.id)
    moved: set[int] = set()
    for run, job_pks in runs.items():
        ended = tx.jobs.move_all(job_pks, JobState.SUCCEEDED, run=run, **changes)
        tx.runs.move_all(ended, run, RunState.SUCCEEDED, finished_at=now)
        moved |= ended
    succeeded = sorted((job for job in jobs if job.id in moved), key=lambda job: job.id)
    tx.events.add_each("succeeded", now, [(job, {"run": job.run}) for job in succeeded])
    for job in succeeded:
        _forget_run(w, effects, job)
    for need in tx.jobs.needed(moved):
        for dependent in [tx.jobs.get(pk) for pk in tx.jobs.need_met(need)]:
            tx.jobs.move(dependent.id, JobState.QUEUED, reason_code=None, reason_message=None)
            tx.events.add(dependent.tenant_id, dependent.id, now, "queued", {})
            effects.add(lambda key=dependent.key: w.queues.submit([key]))  # type: ignore[misc]
    effects.add_once(w.queues.wake)
    return succeeded


def _cancel_dependents(w: Wiring, tx: Transaction, effects: Effects, job: JobRow, how: str) -> None:
    """Cancel the jobs that wait for this one, and those that wait for them, down a chain of any length."""
    ended = deque([(job, how)])
    while ended:
        need, how = ended.popleft()
        message = f"It needs {need.name} ({need.job_id}), which {how}."
        for dependent in tx.jobs.dependents_of(need.id):
            waits = dependent.job_state in (JobState.WAITING, JobState.PAUSED)
            if waits and _cancel_one(w, tx, effects, dependent, ReasonCode.DEPENDENCY_FAILED, message):
                ended.append((dependent, "was cancelled"))


def _give_up_claims(w: Wiring, tx: Transaction, effects: Effects, job: JobRow) -> None:
    """Give claimed shards back, and their leases up: the workers' next heartbeats tell them that it is over."""
    if job.kind == JobKind.GENERATE:
        claimed = tx.shards.in_state(job.id, ShardState.CLAIMED)
        claims = [ClaimKey(*job.key, s.run, s.number, s.claim) for s in claimed]
        effects.add(lambda: w.queues.release(claims))
        tx.shards.release_all(job.id)


def _forget_run(w: Wiring, effects: Effects, job: JobRow) -> None:
    effects.add_each("release", w.queues.release, [job.run_key])
    if job.kind == JobKind.GENERATE and job.pool is not None:
        pool = job.pool
        effects.add_each(("withdraw", pool), lambda keys: w.queues.withdraw(pool, *keys), [job.key])
    effects.add_once(w.queues.wake)
