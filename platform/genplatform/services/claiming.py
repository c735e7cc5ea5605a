"""Claiming: a pool's worker takes what is offered to its pool, as far as the catalog agrees, many shards at once.

What Redis offers is a hint. The catalog gives each shard to one worker at a time, under a number of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from genplatform.catalog import JobRow, ModelRow, ShardRow, Transaction
from genplatform.domain.keys import ClaimKey, ShardKey
from genplatform.domain.states import JobState, RunState
from genplatform.domain.times import LEASE_SECONDS
from genplatform.domain.tokens import Grant, PoolGrant
from genplatform.errors import Unauthorized
from genplatform.services import wire
from genplatform.services.context import Wiring, hint

AT_WORK = (JobState.STARTING, JobState.RUNNING)


def claim(w: Wiring, grant: Grant, body: Mapping[str, Any]) -> dict[str, Any]:
    """Claim shards offered to the worker's pool; returns at once, perhaps with none.

    At most `max`. With `max_items` they are claimed until together they have so many items: one large, or many small.
    """
    said = wire.parse(wire.Claim, body)
    pool = pool_of_grant(grant)
    offered = _offered(w, grant, pool, said.max if said.max_items is None else 1)
    there_are_more = said.max_items is not None and bool(offered) and w.queues.offered(pool) > 0
    if there_are_more and said.max_items is not None:
        # How large the shards are is not known before one is looked at; those behind it are held for like it.
        offered += _offered(w, grant, pool, min(_alike(w, offered[0], said.max_items), said.max) - 1)
    orders = _claim_offered(w, pool, offered, said) if offered else []
    while there_are_more and said.max_items is not None and 0 < len(orders) < said.max:
        items = sum(order["count"] for order in orders)
        room = min((said.max_items - items) * len(orders) // items, said.max - len(orders))
        offered = _offered(w, grant, pool, room)
        more = _claim_offered(w, pool, offered, said) if offered else []
        if not more:
            break
        orders += more
    if not orders:
        return {"shards": []}
    with hint():
        keys = [ClaimKey(o["tenant"], o["job_id"], o["run"], o["shard"], o["claim"]) for o in orders]
        w.queues.grant(keys, LEASE_SECONDS)
    return {"shards": orders}


def pool_of_grant(grant: Grant) -> str:
    """Return the pool that a token speaks for; raises Unauthorized when it speaks for none."""
    if not isinstance(grant, PoolGrant):
        raise Unauthorized("This token does not speak for a pool.", "Use the token of the pool's workers.")
    return grant.pool


def _offered(w: Wiring, grant: Grant, pool: str, most: int) -> list[ShardKey]:
    """Take up to so many offers of the pool."""
    return [s for s in w.queues.take_shards(pool, most) if s.tenant == grant.tenant] if most > 0 else []


def _alike(w: Wiring, shard: ShardKey, items: int) -> int:
    """Return how many shards as large as this one together have so many items; at least one."""
    with w.catalog.read() as tx:
        job = tx.jobs.by_id(shard.tenant, shard.job_id)
        row = tx.shards.get(job.id, shard.shard) if job is not None else None
    return max(1, items // row.count) if row is not None else 1


def _claim_offered(w: Wiring, pool: str, offered: Sequence[ShardKey], said: wire.Claim) -> list[dict[str, Any]]:
    """Claim what was offered, in its order, as far as the catalog agrees."""
    with w.catalog.write() as tx:
        jobs = tx.jobs.held([shard.job for shard in offered])
        wanted: dict[int, list[tuple[int, int]]] = defaultdict(list)  # by the number of the run
        for shard in offered:
            job = jobs.get(shard.job)
            if job is not None and _may_claim(job, shard, pool):
                wanted[shard.run].append((job.id, shard.shard))
        rows = [row for run, numbers in wanted.items() for row in tx.shards.claim_all(numbers, run, said.worker)]
        by_pk = {job.id: job for job in jobs.values()}
        given = [by_pk[pk] for pk in dict.fromkeys(row.job_pk for row in rows)]
        _note_claimed(w, tx, given, said)
        versions = {pk: tx.models.get(pk) for pk in {job.model_version_id or 0 for job in given}}
    claimed = {(row.job_pk, row.number, row.run): row for row in rows}
    orders = []
    for shard in offered:
        job = jobs.get(shard.job)
        row = claimed.get((job.id, shard.shard, shard.run)) if job is not None else None
        if job is not None and row is not None:
            orders.append(_shard_order(job, row, versions[job.model_version_id or 0]))
    return orders


def _may_claim(job: JobRow, shard: ShardKey, pool: str) -> bool:
    """Tell whether the catalog agrees with an offer; one that is stale or forged gives nothing."""
    if job.run != shard.run or job.job_state not in AT_WORK or job.pool != pool:
        return False
    return job.model_version_id is not None


def _note_claimed(w: Wiring, tx: Transaction, jobs: Sequence[JobRow], said: wire.Claim) -> None:
    """Note that a worker has shards of these jobs: what `_note_running` does, for many in a few statements."""
    now = w.clock()
    alike: dict[tuple[int, bool, bool], list[JobRow]] = defaultdict(list)
    for job in jobs:
        alike[job.run, job.started_at is None, job.wish is None].append(job)
    # A job whose shards wait behind another's stalls only once a worker has one of them.
    tx.jobs.touch_all([job.id for job in jobs], progressed_at=now)
    for (run, is_first, is_unasked), some in alike.items():
        told = {"node": said.node, "worker": said.worker}
        began = tx.runs.move_all([job.id for job in some], run, RunState.RUNNING, **told, started_at=now)
        values: dict[str, Any] = {"started_at": now} if is_first else {}
        values |= {"reason_code": None, "reason_message": None} if is_unasked else {}
        tx.jobs.move_all(began, JobState.RUNNING, run=run, **values)
        tx.events.add_each("running", now, [(job, {"run": run} | told) for job in some if job.id in began])


def _shard_order(job: JobRow, shard: ShardRow, version: ModelRow) -> dict[str, Any]:
    return {
        "tenant": job.tenant_id,
        "job_id": job.job_id,
        "run": shard.run,
        "shard": shard.number,
        "claim": shard.claim,
        "start": shard.start,
        "count": shard.count,
        "seed": job.spec["seed"],
        "format": job.spec["output"]["format"],
        "batch_size": job.spec.get("batch_size"),
        "cond": job.spec.get("cond"),
        "lineage": {
            "job": job.job_id,
            "name": job.name,
            "model": version.ref,
            "model_digest": version.digest,
            "data_digest": version.data_digest,
            "recipe": version.recipe,
            "code": (version.card.get("code") or {}).get("sha256"),
            "code_version": version.code_version,
        },
    }
