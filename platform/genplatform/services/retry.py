"""Retry: what ended otherwise than it should is done again; what backs off goes on now.

    failed | cancelled ──> a new job of the same spec, that names it in `retry_of`; and, with it, new
                           jobs for those that were cancelled because of it, needing the new ones
    waiting, backing off ─> queued
    done again already ───> its newest retry stands for it: when that is open, it is the answer

Nothing leaves a terminal state: an ended job stays as it was. A training goes on from the newest
checkpoint of those before it; items are made anew, with the same seeds and of the same model.
Of two that retry one job at the same time, one makes the new job and both are answered with it.
"""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass
from typing import Any

from genplatform.catalog import JobRow, Transaction
from genplatform.domain.ids import new_id
from genplatform.domain.job import WITH_MODEL, ReasonCode
from genplatform.domain.states import TERMINAL_JOB_STATES, JobState
from genplatform.domain.times import rfc3339
from genplatform.errors import BadSpec, Conflict
from genplatform.services import idempotency, lookup, present
from genplatform.services.context import Effects, Wiring
from genplatform.services.refusals import stands
from genplatform.spec import deadline_at, parse_stored

ENDED_BADLY = (JobState.FAILED, JobState.CANCELLED)
MOST_ANSWERED = 1000


@dataclass(frozen=True)
class _Asked:
    """One request to retry: who asks for what, and under which idempotency key."""

    tenant: str
    ref: str
    key: str | None

    @property
    def digest(self) -> str:
        """What an idempotency key was used for; by the words asked, for a name will mean the new job."""
        return hashlib.sha256(b"retry\0" + self.ref.encode()).hexdigest()


def retry(w: Wiring, tenant: str, ref: str, *, key: str | None = None) -> dict[str, Any]:
    """Do a job again, or let it go on now; returns `{"jobs": [...], "next": None}`, the job asked for first.

    Of very many that are done again with it the first are returned. The same `key` is the same
    jobs; where it made none, it makes none later. Raises Conflict for a job that has succeeded,
    that is under way, or whose needs ended otherwise than they should.
    """
    idempotency.check(key)
    asked = _Asked(tenant, ref, key)
    known = idempotency.answered(w, tenant, key, asked.digest)
    if known is not None:
        return known if known["jobs"] else _as_it_stands(w, asked)
    effects = Effects()
    try:
        with w.catalog.write() as tx:
            made = _retry(w, tx, effects, asked)
            answer = present.jobs(w, tx, tx.jobs.by_ids(tenant, made[:MOST_ANSWERED]))
    except idempotency.SameKey:
        known = idempotency.answered(w, tenant, key, asked.digest)
        return known if known and known["jobs"] else _as_it_stands(w, asked)
    effects.run()
    return {"jobs": answer, "next": None}


def _retry(w: Wiring, tx: Transaction, effects: Effects, asked: _Asked) -> list[str]:
    """Return the public ids of the jobs that were made, or of the one that stands for them already."""
    job = _locked(tx, lookup.job(tx, asked.tenant, asked.ref))
    if job.job_state in ENDED_BADLY:
        _refuse_late(job, w.clock())
        return _again(w, tx, effects, job, asked)
    if job.job_state is JobState.WAITING and job.run_at is not None:
        _go_on(w, tx, effects, job)
    elif job.job_state is JobState.SUCCEEDED:
        raise stands(job, "There is nothing to retry; submit it again to make another.")
    elif job.job_state is JobState.CANCELLING:
        raise stands(job, f"Retry it once it is cancelled: `genctl wait {job.job_id}` waits for that.")
    elif job.retry_of is None:
        hint = "resume it with `genctl resume" if job.job_state is JobState.PAUSED else "follow it with `genctl watch"
        raise stands(job, f"It has not ended: {hint} {job.job_id}`.")
    _keep_key(w, tx, asked, 0)
    return [job.job_id]


def _as_it_stands(w: Wiring, asked: _Asked) -> dict[str, Any]:
    """Return the job that stands for the one asked for."""
    with w.catalog.read() as tx:
        job = newest(tx, lookup.job(tx, asked.tenant, asked.ref))
        return {"jobs": present.jobs(w, tx, [job]), "next": None}


def newest(tx: Transaction, job: JobRow) -> JobRow:
    """Return the job that does this one again, or again that one, down to the newest; itself when there is none."""
    while (later := tx.jobs.newest_retry(job)) is not None:
        job = later
    return job


def _locked(tx: Transaction, job: JobRow) -> JobRow:
    """Return the newest retry of a job, with all that its retry depends on kept for this transaction.

    That is the job itself, those that were cancelled with it, and what they need and is still
    open. While locks are waited for another may retry the same, so it is looked again after.
    """
    locked: set[int] = set()
    while True:
        found = newest(tx, tx.jobs.get(job.id))
        family = _family(tx, found)
        needs = [need for one in family for need in _needs(tx, one)]
        wanted = {one.id for one in family} | {n.id for n in needs if n.job_state not in TERMINAL_JOB_STATES}
        if wanted <= locked:
            return found
        tx.jobs.lock(wanted - locked)
        locked |= wanted


def _family(tx: Transaction, job: JobRow) -> list[JobRow]:
    """Return an ended job and those that were cancelled because of it, all the way down, oldest first."""
    found = {job.id: job}
    ended = deque([job] if job.job_state in ENDED_BADLY else [])
    while ended:
        for one in tx.jobs.dependents_of(ended.popleft().id):
            with_it = (one.job_state, one.reason_code) == (JobState.CANCELLED, ReasonCode.DEPENDENCY_FAILED)
            if one.id not in found and with_it and tx.jobs.newest_retry(one) is None:
                found[one.id] = one
                ended.append(one)
    return [found[pk] for pk in sorted(found)]


def _needs(tx: Transaction, job: JobRow) -> list[JobRow]:
    """Return what a job needs; of what ended otherwise than it should, its newest retry."""
    return [newest(tx, need) if need.job_state in ENDED_BADLY else need for need in tx.jobs.needs_of(job.id)]


def _again(w: Wiring, tx: Transaction, effects: Effects, job: JobRow, asked: _Asked) -> list[str]:
    """Make the new jobs; one of those cancelled with it that needs yet another ended job is left as it is."""
    plan: dict[int, tuple[JobRow, list[JobRow]]] = {}
    for one in _family(tx, job):
        needs = _needs(tx, one)
        missing = [n for n in needs if n.job_state in ENDED_BADLY and n.id not in plan]
        if not missing:
            plan[one.id] = one, needs
        elif one.id == job.id:
            raise _needs_first(job, missing[0])
    submission = _keep_key(w, tx, asked, len(plan))
    made: dict[int, JobRow] = {}
    for one, needs in plan.values():
        made[one.id] = _copy(w, tx, effects, one, [made.get(n.id, n) for n in needs], submission)
    return [one.job_id for one in made.values()]


def _keep_key(w: Wiring, tx: Transaction, asked: _Asked, count: int) -> int | None:
    """Record that the key made so many jobs; raises SameKey when another request with it came first."""
    if asked.key is None:
        return None
    kept = tx.submissions.add(asked.tenant, asked.key, asked.digest, count, w.clock())
    if kept is None:
        raise idempotency.SameKey
    return kept


def _copy(
    w: Wiring, tx: Transaction, effects: Effects, old: JobRow, needs: list[JobRow], submission: int | None
) -> JobRow:
    now = w.clock()
    open_needs = [need for need in needs if need.job_state not in TERMINAL_JOB_STATES]
    kept = ("tenant_id", "name", "kind", "queue", "priority", "labels", "spec", "total", "unit")
    values: dict[str, Any] = {column: getattr(old, column) for column in kept}
    values |= {
        "job_id": new_id("j", w.randbelow),
        "state": (JobState.WAITING if open_needs else JobState.QUEUED).value,
        "open_needs": len(open_needs),
        "run": 0,
        "workers": 0,
        "done": 0,
        # What a job was pinned to, it stays pinned to; a train job names there what it published.
        "model_version_id": old.model_version_id if old.kind in WITH_MODEL else None,
        "submission_pk": submission,
        "deadline_at": _deadline(old, now),
        "retry_of": old.job_id,
        "created_at": now,
    }
    if open_needs:
        names = ", ".join(need.name for need in open_needs)
        values |= {"reason_code": ReasonCode.NEEDS_JOB.value, "reason_message": f"It waits for {names}."}
    pk = tx.jobs.insert(values)
    tx.jobs.add_needs(old.tenant_id, pk, [need.id for need in needs])
    new = tx.jobs.get(pk)
    tx.events.add(old.tenant_id, pk, now, "submitted", {"state": new.state, "retry_of": old.job_id})
    tx.events.add(old.tenant_id, old.id, now, "retried", {"job": new.job_id})
    if new.job_state is JobState.QUEUED:
        effects.add(lambda: w.queues.submit([new.key]))
    return new


def _deadline(old: JobRow, now: float) -> float | None:
    """Return when a job that is submitted again now must have ended."""
    try:
        return deadline_at(parse_stored(old.spec).deadline, now)
    except BadSpec:
        return None  # an older version wrote it: opening its Run says so


def _go_on(w: Wiring, tx: Transaction, effects: Effects, job: JobRow) -> None:
    tx.jobs.move(job.id, JobState.QUEUED, run_at=None, reason_code=None, reason_message=None)
    tx.events.add(job.tenant_id, job.id, w.clock(), "queued", {"after": ReasonCode.BACKING_OFF.value})
    effects.add(lambda: w.queues.submit([job.key]))


def _refuse_late(job: JobRow, now: float) -> None:
    at = _deadline(job, now)
    if at is not None and at <= now:
        message = f"Job {job.job_id} ({job.name}) had to end by {rfc3339(at)}, which has passed."
        raise Conflict(message, "Submit it again with a later `deadline`.")


def _needs_first(job: JobRow, need: JobRow) -> Conflict:
    ended = "was cancelled" if need.job_state is JobState.CANCELLED else "has failed"
    return Conflict(
        f"Job {job.job_id} ({job.name}) needs {need.job_id} ({need.name}), which {ended}.",
        f"Retry that one: `genctl retry {need.job_id}` does again what was cancelled because of it, too.",
    )
