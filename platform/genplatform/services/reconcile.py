"""What the record says stands open: from it the dispatcher rebuilds everything it holds, and all of Redis."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from genplatform.catalog import JobRow, QueuedRow, SpanSum
from genplatform.domain.job import JobKind, Reason, Wish
from genplatform.domain.keys import ClaimKey, JobKey, LeaseKey, ShardKey
from genplatform.domain.retry import LONGEST_WAIT
from genplatform.domain.states import ACTIVE_JOB_STATES, JobState, ShardState
from genplatform.domain.times import LEASE_SECONDS
from genplatform.services.context import Wiring, hint
from genplatform.services.leadership import led
from genplatform.services.runs import START_SECONDS, pool_order

BATCH = 1000
PAGE = 10_000


def spans(w: Wiring) -> dict[int, SpanSum]:
    """Return what the queued jobs add up to, span by span."""
    with w.catalog.read() as tx:
        return tx.queued.spans()


def queued_within(w: Wiring, first: int, last: int) -> list[QueuedRow]:
    """Return the queued jobs of the spans from `first` to `last`, oldest first."""
    with w.catalog.read() as tx:
        return tx.queued.within(first, last)


def open_jobs(w: Wiring) -> list[JobRow]:
    """Return the jobs with an open Run, oldest first."""
    found: list[JobRow] = []
    with w.catalog.read() as tx:
        while page := tx.jobs.in_states(ACTIVE_JOB_STATES, after=found[-1].id if found else 0, limit=PAGE):
            found += page
            if len(page) < PAGE:
                break
    return found


def claims_of(w: Wiring, jobs: list[JobRow]) -> dict[ClaimKey, str]:
    """Return the open claims of generate jobs, each with its worker's name."""
    keys = {job.id: job.key for job in jobs}
    pks = sorted(keys)
    found: dict[ClaimKey, str] = {}
    with w.catalog.read() as tx:
        for first in range(0, len(pks), BATCH):
            for shard in tx.shards.of_jobs(pks[first : first + BATCH], ShardState.CLAIMED):
                found[ClaimKey(*keys[shard.job_pk], shard.run, shard.number, shard.claim)] = shard.worker or ""
    return found


def pool_orders(w: Wiring, jobs: list[JobRow], api_url: str) -> dict[str, dict[str, Any]]:
    """Return, a pool, what its workers are given."""
    with w.catalog.read() as tx:
        versions = {j.pool: (j, tx.models.get(j.model_version_id)) for j in jobs if j.pool and j.model_version_id}
        return {
            pool: pool_order(w, tx, job.tenant_id, model, api_url) for pool, (job, model) in versions.items() if pool
        }


def open_shards(w: Wiring, jobs: list[JobRow]) -> Counter[str]:
    """Return, a pool, how many shards of its jobs are to be made or being made."""
    found: Counter[str] = Counter()
    with w.catalog.read() as tx:
        for job in jobs:
            counts = tx.shards.count(job.id)
            found[job.pool or ""] += counts.get(ShardState.PENDING, 0) + counts.get(ShardState.CLAIMED, 0)
    return found


def note_reasons(w: Wiring, term: int, told: Mapping[Reason, Sequence[int]]) -> set[int]:
    """Record why queued jobs wait, given by their inside keys; returns those that had it recorded."""
    noted: set[int] = set()
    for reason, job_pks in told.items():
        for first in range(0, len(job_pks), BATCH):
            with led(w, term) as tx:
                noted |= tx.queued.note(reason, job_pks[first : first + BATCH])
    return noted


def queued(w: Wiring, keys: Iterable[JobKey]) -> list[QueuedRow]:
    """Return those of the submitted jobs that are queued: the intake's word is only a hint."""
    by_tenant: dict[str, list[str]] = defaultdict(list)
    for key in keys:
        by_tenant[key.tenant].append(key.job_id)
    rows: list[QueuedRow] = []
    for tenant, ids in by_tenant.items():
        for first in range(0, len(ids), BATCH):
            with w.catalog.read() as tx:
                rows += tx.queued.by_ids(tenant, ids[first : first + BATCH])
    return rows


def promote(w: Wiring, term: int) -> list[JobKey]:
    """Queue the waiting jobs whose time has come; returns them."""
    now = w.clock()
    with w.catalog.read() as tx:
        # Nobody waits longer than the longest delay: a later time was written before the clock was put back.
        due = tx.jobs.due(now, now + LONGEST_WAIT, BATCH)
    if not due:
        return []
    promoted: list[JobKey] = []
    with led(w, term) as tx:
        for job in due:
            why = {"reason_code": None, "reason_message": None}
            if tx.jobs.move(job.id, JobState.QUEUED, only_from={JobState.WAITING}, run_at=None, **why):
                tx.events.add(job.tenant_id, job.id, w.clock(), "queued", {})
                promoted.append(job.key)
    return promoted


def restore(w: Wiring, jobs: list[JobRow]) -> None:
    """Put back into Redis what the open Runs need there: leases, offers and stop flags.

    A lease that is missing is given one lease of grace, so that a worker that still lives
    re-attaches with its next heartbeat instead of starting over.
    """
    pools: dict[str, list[JobRow]] = defaultdict(list)
    with hint():
        for job in jobs:
            if job.job_state is JobState.CANCELLING:
                w.queues.flag_stop(job.key, "cancel")
            elif job.wish == Wish.PAUSE:
                w.queues.flag_stop(job.key, "pause")
            if job.kind != JobKind.GENERATE:
                _regrant(w, [job.run_key], START_SECONDS if job.job_state is JobState.STARTING else LEASE_SECONDS)
            elif job.pool is not None and job.job_state is not JobState.CANCELLING:
                pools[job.pool].append(job)
        for pool, members in pools.items():
            _offer_again(w, pool, members)
        _regrant(w, list(claims_of(w, [job for members in pools.values() for job in members])), LEASE_SECONDS)


def sweep(w: Wiring) -> None:
    """Take out of Redis the leases and stop flags that belong to nothing that is open.

    What should have taken them away may not have reached Redis, or came before what it should have
    taken away; and a lease is kept by the heartbeats of a worker that has not heard that it is void.
    """
    with hint():
        leases, flagged = w.queues.leases(), w.queues.flagged()
        if not leases and not flagged:
            return
        # The record is read after Redis: what is there was committed before it was put there, so that
        # what the record does not have open now is over. Numbers of runs and claims are not used again.
        jobs = open_jobs(w)
        runs = {job.run_key for job in jobs}
        claims = claims_of(w, [job for job in jobs if job.kind == JobKind.GENERATE])
        w.queues.release([lease for lease in leases if lease not in runs and lease not in claims])
        for job in flagged - {job.key for job in jobs}:
            w.queues.clear_stop(job)


def _offer_again(w: Wiring, pool: str, jobs: list[JobRow]) -> None:
    """Offer a pool the shards that it should have and has not; counted first, for a job may have very many."""
    with w.catalog.read() as tx:
        pending = sum(tx.shards.count(job.id).get(ShardState.PENDING, 0) for job in jobs)
        if w.queues.offered(pool) >= pending:
            return
        offers = [ShardKey(*j.run_key, s.number) for j in jobs for s in tx.shards.in_state(j.id, ShardState.PENDING)]
    w.queues.hand_off(pool, offers)


def _regrant(w: Wiring, leases: Sequence[LeaseKey], seconds: float) -> None:
    missing = w.queues.missing(leases)
    if missing:
        w.queues.grant(missing, seconds)
