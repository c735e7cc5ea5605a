"""Publication: exactly once, whatever ran twice.

A model, an evaluation, and what a command left, is published by one transaction that holds only while its Run is the
current one; a shard by one that holds only while its Run *and* its claim are. A worker that was taken for
dead and comes back meets a newer number and changes nothing. A publication repeated because
its answer was lost is answered again, and not done again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from genplatform.catalog import JobRow, ShardRow, Transaction
from genplatform.domain import layout, recipe_code
from genplatform.domain.job import PUBLISHES_MODEL, JobKind
from genplatform.domain.keys import ClaimKey, JobKey, RunKey
from genplatform.domain.states import JobState, ShardState
from genplatform.errors import BadRequest, Fenced
from genplatform.services import wire
from genplatform.services.context import Effects, Wiring
from genplatform.services.endings import succeed_job
from genplatform.services.runs import pinned
from genplatform.spec import parse_stored, published_name, schema_fault


def publish_model(w: Wiring, key: RunKey, body: wire.PublishModel) -> dict[str, Any]:
    """Publish the model that a Run trained or compressed, and end its Job.

    Raises Fenced when the Run is not the current one.
    """
    made = body.model
    if made.key != layout.model(key.tenant, made.digest):
        raise BadRequest(
            f"The model's key {made.key!r} is not the one of its digest.", "Put it where layout.model says."
        )
    fault = schema_fault(made.card.get("cond"))
    if fault is not None:
        raise BadRequest(
            f"The `cond` of the model's card is no JSON Schema of conditions. {fault}",
            "Leave it out, or publish what the recipe's conditions are.",
        )
    try:
        recipe_code.of_card(made.card.get("code"))
    except ValueError as error:
        raise BadRequest(f"The model cannot be published: {error}.", "Leave `code` out of its card.") from None
    effects = Effects()
    with w.catalog.write() as tx:
        job = tx.jobs.by_id(key.tenant, key.job_id, lock=True)
        if job is None or job.run != key.run or job.kind not in PUBLISHES_MODEL:
            raise _fenced(key)
        if job.job_state is JobState.SUCCEEDED:
            return {"model": _ref(tx, job)}
        if job.job_state not in (JobState.STARTING, JobState.RUNNING):
            raise _fenced(key)
        version_id, ref = _add_version(w, tx, job, made)
        if version_id is not None and made.evaluation is not None:
            tx.evaluations.add(key.tenant, version_id, job.job_id, made.evaluation.model_dump(), w.clock())
        if not succeed_job(w, tx, effects, job, model_version_id=version_id, done=job.total):
            raise _fenced(key)
        tx.events.add(key.tenant, job.id, w.clock(), "published", {"model": ref, "digest": made.digest})
    effects.run()
    return {"model": ref}


def publish_evaluation(w: Wiring, key: RunKey, body: wire.PublishEvaluation) -> dict[str, Any]:
    """Keep what an evaluate Run found on the version that its Job is pinned to, and end the Job.

    Raises Fenced when the Run is not the current one.
    """
    effects = Effects()
    with w.catalog.write() as tx:
        job = tx.jobs.by_id(key.tenant, key.job_id, lock=True)
        if job is None or job.run != key.run or job.kind != JobKind.EVALUATE or job.model_version_id is None:
            raise _fenced(key)
        if job.job_state is JobState.SUCCEEDED:
            return {"model": _ref(tx, job)}
        if job.job_state not in (JobState.STARTING, JobState.RUNNING):
            raise _fenced(key)
        now = w.clock()
        tx.evaluations.add(key.tenant, job.model_version_id, job.job_id, body.evaluation.model_dump(), now)
        if not succeed_job(w, tx, effects, job, done=job.total):
            raise _fenced(key)
        ref = _ref(tx, job)
        tx.events.add(key.tenant, job.id, now, "published", {"run": key.run, "evaluated": ref})
    effects.run()
    return {"model": ref}


def publish_files(w: Wiring, key: RunKey, body: wire.PublishFiles) -> dict[str, Any]:
    """Publish what a command left, and end its Job. Raises Fenced when its Run is not the current one."""
    folder = f"{layout.files(key)}/"
    for file in body.files:
        if not file.key.startswith(folder):
            raise BadRequest(f"The key {file.key!r} is not below {folder}.", "Put it where layout.files says.")
    effects = Effects()
    with w.catalog.write() as tx:
        job = tx.jobs.by_id(key.tenant, key.job_id, lock=True)
        if job is None or job.run != key.run or job.kind != JobKind.COMMAND:
            raise _fenced(key)
        count = len(body.files)
        if job.job_state is JobState.SUCCEEDED:
            return {"count": count}
        if job.job_state not in (JobState.STARTING, JobState.RUNNING):
            raise _fenced(key)
        now = w.clock()
        common = {"tenant_id": key.tenant, "job_pk": job.id, "run": key.run, "kind": "output", "created_at": now}
        # The newest comes first when artifacts are listed: so they are listed in the order of their names.
        named = sorted(body.files, key=lambda file: file.key, reverse=True)
        tx.artifacts.insert_many([common | file.model_dump() | {"step": None} for file in named])
        if not succeed_job(w, tx, effects, job, done=count, total=count):
            raise _fenced(key)
        tx.events.add(key.tenant, job.id, now, "published", {"run": key.run, "files": count})
    effects.run()
    return {"count": count}


def publish_shards(w: Wiring, pool: str, shards: Sequence[tuple[ClaimKey, wire.PublishShard]]) -> dict[str, Any]:
    """Publish shards that a pool's worker made, in one transaction; each is judged by its own fences."""
    effects = Effects()
    results: list[dict[str, Any]] = []
    with w.catalog.write() as tx:
        jobs = tx.jobs.held([key.job for key, _ in shards])
        rows = tx.shards.several([(jobs[key.job].id, key.shard) for key, _ in shards if key.job in jobs])
        made: Counter[JobKey] = Counter()
        reasons: dict[ClaimKey, str | None] = {}
        for key, body in sorted(shards, key=lambda pair: pair[0]):
            job = jobs.get(key.job)
            shard = rows.get((job.id, key.shard)) if job is not None else None
            if key not in reasons:
                reasons[key] = _publish_shard(w, tx, job, shard, pool, key, body, made)
            said = {"job_id": key.job_id, "shard": key.shard, "claim": key.claim}
            results.append(said | {"published": reasons[key] is None, "reason": reasons[key]})
        _note_done(w, tx, [(jobs[key], count) for key, count in made.items()])
    effects.add(lambda: w.queues.release([key for key, _ in shards]))
    effects.add(w.queues.wake)
    effects.run()
    return {"results": results}


def _publish_shard(
    w: Wiring,
    tx: Transaction,
    job: JobRow | None,
    shard: ShardRow | None,
    pool: str,
    key: ClaimKey,
    body: wire.PublishShard,
    made: Counter[JobKey],
) -> str | None:
    """Publish one shard of a locked job and count its items among those `made`; returns why not, or None."""
    if job is None or shard is None:
        return "There is no such shard."
    if shard.state == ShardState.PUBLISHED and (shard.run, shard.claim) == (key.run, key.claim):
        return None
    reason = _settle(w, tx, job, shard, pool, key, body)
    if reason is None:
        made[key.job] += shard.count
    if reason is not None:
        said = {"run": key.run, "shard": key.shard, "claim": key.claim, "message": reason}
        tx.events.add(job.tenant_id, job.id, w.clock(), "refused", said)
    return reason


def _settle(
    w: Wiring, tx: Transaction, job: JobRow, shard: ShardRow, pool: str, key: ClaimKey, body: wire.PublishShard
) -> str | None:
    at_work = job.job_state in (JobState.STARTING, JobState.RUNNING)
    if not at_work or (job.run, job.pool) != (key.run, pool):
        return f"Run {key.run} is not the current one, or another pool's."
    if body.manifest.key != f"{layout.shard(key)}/{layout.MANIFEST}" or body.count != shard.count:
        return f"The shard's files or its count of {body.count} are not what was claimed ({shard.count})."
    now = w.clock()
    values = {
        "folder": layout.shard_name(key),
        "failed_items": body.failed,
        "manifest_sha256": body.manifest.sha256,
        "size": body.bytes,
        "published_at": now,
    }
    if not tx.shards.settle(job.id, key.shard, key.run, key.claim, ShardState.PUBLISHED, **values):
        return f"Claim {key.claim} is not the current one."
    return None


def _note_done(w: Wiring, tx: Transaction, made: Sequence[tuple[JobRow, int]]) -> None:
    """Record how many items more jobs have, and how many a second their current Runs have made since they began."""
    now = w.clock()
    began = tx.runs.started({job.id: job.run for job, _ in made})
    for job, count in made:
        done = job.done + count
        values: dict[str, Any] = {"done": done, "progressed_at": now}
        if now > began.get(job.id, now):
            values["rate"] = (done - _done_before(tx, job)) / (now - began[job.id])
        tx.jobs.touch(job.id, run=job.run, **values)


def _done_before(tx: Transaction, job: JobRow) -> int:
    """Return how many items a job had when its current Run was opened."""
    starts = tx.events.page(job.id, after=0, limit=job.run, types=("starting",)) if job.run > 1 else []
    return int(starts[-1].data.get("done", 0)) if starts else 0


def _add_version(w: Wiring, tx: Transaction, job: JobRow, made: wire.ModelBody) -> tuple[int | None, str | None]:
    spec = parse_stored(job.spec)
    name = published_name(spec)
    if name is None:
        return None, None
    parent = pinned(tx, job, spec)
    adapter = made.card.get("adapter")
    on = adapter.get("base") if isinstance(adapter, dict) else adapter
    if adapter and (parent is None or on != parent.digest):
        raise BadRequest(
            f"The model is adapters on {on!s:.64}, which is not what job {job.job_id} started from.",
            "Name the digest of the job's base.",
        )
    values = {
        "recipe": made.recipe,
        "modality": made.modality,
        "config": made.config,
        "tile": made.tile,
        "job_id": job.job_id,
        "parent_pk": parent.id if parent is not None else None,
        "digest": made.digest,
        "key": made.key,
        "size": made.size,
        "data_digest": made.data_digest,
        "code_version": str(made.card.get("code_version", ""))[:64],
        "metrics": made.metrics,
        "card": made.card,
        "created_at": w.clock(),
    }
    version_id, number = tx.models.publish(job.tenant_id, name, values)
    return version_id, f"{name}@{number}"


def _ref(tx: Transaction, job: JobRow) -> str | None:
    return tx.models.get(job.model_version_id).ref if job.model_version_id is not None else None


def _fenced(key: RunKey) -> Fenced:
    return Fenced(
        f"Run {key.run} of job {key.job_id} may not publish: it is not the current one.",
        "Stop; another run took over, or the job was cancelled.",
    )
