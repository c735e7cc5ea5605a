"""Open a Run: the moment a queued Job becomes work for the engine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from genplatform import __version__
from genplatform.catalog import JobRow, ModelRow, Transaction
from genplatform.domain.job import PUBLISHES_MODEL, WITH_MODEL, JobKind
from genplatform.domain.keys import JobKey, RunKey, ShardKey, pool_id
from genplatform.domain.retry import Cause
from genplatform.domain.shards import plan_shards
from genplatform.domain.states import JobState, ShardState
from genplatform.domain.times import HEARTBEAT_SECONDS
from genplatform.domain.tokens import PoolGrant, issue
from genplatform.services.context import Effects, Wiring
from genplatform.services.endings import Ending, fail_job
from genplatform.services.leadership import led
from genplatform.services.orders import THREADS, run_order
from genplatform.services.surroundings import builds_by
from genplatform.spec import JobSpec, model_ref, parse_stored

# A starting actor loads Python, torch and the data before its first word.
START_SECONDS = 60.0
POOL_IDLE_SECONDS = 15.0
# So many shards a worker may hold at a time, while their items together fill a tile and no more.
MOST_CLAIMS = 64


@dataclass(frozen=True)
class OpenedRun:
    """A Run just opened. `order` is for its actor, or for its pool's workers (generate)."""

    key: RunKey
    kind: JobKind
    pool: str | None
    workers: int
    order: dict[str, Any]


def open_run(
    w: Wiring, term: int, key: JobKey, *, workers: int, api_url: str, avoid: Sequence[str] = ()
) -> OpenedRun | None:
    """Open the next Run of a queued Job, kept off the nodes to `avoid`; None when it is not queued any more.

    The model that a Job uses is pinned, and a generate Job's shards are planned, with its first Run. Raises
    BadSpec for a Job that an older version submitted and this one cannot read.
    """
    effects = Effects()
    with led(w, term) as tx:
        job = tx.jobs.by_id(key.tenant, key.job_id, lock=True)
        if job is None or job.job_state is not JobState.QUEUED:
            return None
        opened = open_queued(w, tx, effects, term, job, workers=workers, api_url=api_url, avoid=avoid)
    effects.run()
    return opened


def open_queued(
    w: Wiring,
    tx: Transaction,
    effects: Effects,
    term: int,
    job: JobRow,
    *,
    workers: int,
    api_url: str,
    avoid: Sequence[str],
) -> OpenedRun | None:
    """Open the next Run of a queued Job whose row is locked; None when it fails for want of its model."""
    key = job.key
    spec = parse_stored(job.spec)
    run = RunKey(*key, job.run + 1)
    now = w.clock()
    values = _opening(now, workers)
    model: ModelRow | None = None
    if job.kind in WITH_MODEL:
        model = pinned(tx, job, spec)
        if model is None:
            _fail_without_model(w, tx, effects, job, spec)
            return None
        values["model_version_id"] = model.id
    if job.kind == JobKind.GENERATE and model is not None:
        values["pool"] = pool_of(key.tenant, model)
        if not tx.shards.count(job.id):
            tx.shards.plan(key.tenant, job.id, plan_shards(job.total, model.tile, job.spec.get("batch_size")))
    parent = None
    if job.kind == JobKind.TRAIN and model_ref(spec) is not None:
        parent = pinned(tx, job, spec)
        if parent is None:
            _fail_without_model(w, tx, effects, job, spec)
            return None
    tx.jobs.move(job.id, JobState.STARTING, new_run=run.run, only_from={JobState.QUEUED}, **values)
    tx.runs.open(key.tenant, job.id, run.run, term, now)
    tx.events.add(key.tenant, job.id, now, "starting", _said(job, workers, avoid))
    # What an earlier Run was asked is not asked of this one.
    effects.add(lambda: w.queues.clear_stop(key))
    if model is None or job.kind != JobKind.GENERATE:
        effects.add(lambda: w.queues.grant([run], START_SECONDS))
        order = run_order(w, tx, job, run, api_url)
        if model is not None:
            order["model"] = model_order(model)
        if parent is not None:
            order[builds_by(job.spec)] = model_order(parent)
        return OpenedRun(run, JobKind(job.kind), None, workers, order)
    pool = pool_of(key.tenant, model)
    offers = [ShardKey(*run, s.number) for s in tx.shards.in_state(job.id, ShardState.PENDING)]
    effects.add(lambda: w.queues.hand_off(pool, offers))
    return OpenedRun(run, JobKind(job.kind), pool, workers, pool_order(w, tx, key.tenant, model, api_url))


def open_joined(
    w: Wiring,
    tx: Transaction,
    effects: Effects,
    term: int,
    joining: Sequence[tuple[JobRow, ModelRow]],
    *,
    avoid: Sequence[str],
) -> None:
    """Open the next Runs, without workers of their own, of queued generate Jobs whose rows are locked.

    Each is given with what `pinned` says of it. It is what `open_queued` does, for many in a few statements.
    """
    now = w.clock()
    jobs = {job.id: job for job, _ in joining}
    planned = tx.shards.planned(jobs)
    unplanned = [(job, model) for job, model in joining if job.id not in planned]
    tx.shards.plan_all(
        [(job.tenant_id, job.id, plan_shards(job.total, m.tile, job.spec.get("batch_size"))) for job, m in unplanned]
    )
    members: dict[tuple[str, int], list[int]] = defaultdict(list)
    for job, model in joining:
        members[pool_of(job.tenant_id, model), model.id].append(job.id)
    for (pool, model_id), job_pks in members.items():
        values = _opening(now, 0) | {"model_version_id": model_id, "pool": pool}
        started = tx.jobs.start_all(job_pks, **values)
        mine = [jobs[pk] for pk in job_pks if pk in started]
        tx.runs.open_all([(job.tenant_id, job.id, job.run + 1) for job in mine], term, now)
        tx.events.add_each("starting", now, [(job, _said(job, 0, avoid)) for job in mine])
        pending = tx.shards.of_all([job.id for job in mine])
        # In the order of the line: a job's age in its pool is that of its first offer.
        offers = [
            ShardKey(*job.key, job.run + 1, shard.number)
            for job in mine
            for shard in pending[job.id]
            if shard.state == ShardState.PENDING
        ]
        effects.add_each("clear_stop", lambda keys: w.queues.clear_stop(*keys), [job.key for job in mine])
        effects.add(lambda pool=pool, offers=offers: w.queues.hand_off(pool, offers))  # type: ignore[misc]


def _opening(now: float, workers: int) -> dict[str, Any]:
    """Return the values that a job's row has once a Run is opened for it."""
    values = {"workers": workers, "reason_code": None, "reason_message": None, "run_at": None}
    return values | {"progressed_at": now}


def _said(job: JobRow, workers: int, avoid: Sequence[str]) -> dict[str, Any]:
    return {"run": job.run + 1, "workers": workers, "done": job.done, "avoided": list(avoid)}


def refuse(w: Wiring, term: int, key: JobKey, ending: Ending) -> None:
    """Fail a queued Job of which no Run can be opened."""
    effects = Effects()
    with led(w, term) as tx:
        job = tx.jobs.by_id(key.tenant, key.job_id, lock=True)
        if job is not None and job.job_state is JobState.QUEUED:
            fail_job(w, tx, effects, job, ending)
    effects.run()


def pool_of(tenant: str, model: ModelRow) -> str:
    """Return the pool whose workers hold this version under this code."""
    code = model.card.get("code")
    # The digest covers a recipe's own code too; said once more, for it must never be shared.
    return pool_id(tenant, model.digest, f"{__version__}\n{code['sha256']}" if code else __version__)


def pool_order(w: Wiring, tx: Transaction, tenant: str, model: ModelRow, api_url: str) -> dict[str, Any]:
    """Return what a pool's workers are given; each gets its own `actor` name besides."""
    pool = pool_of(tenant, model)
    return {
        "tenant": tenant,
        "pool": pool,
        "api_url": api_url,
        "token": issue(w.node_secret(tx), PoolGrant(tenant, pool)),
        "store_url": w.store.url,
        "model": model_order(model),
        "max_claims": MOST_CLAIMS,
        "idle_seconds": POOL_IDLE_SECONDS,
        "heartbeat_seconds": HEARTBEAT_SECONDS,
        "threads": THREADS,
    }


def model_order(model: ModelRow) -> dict[str, Any]:
    """Return what a worker needs to load a model version."""
    return {
        "name": model.name,
        "version": model.version,
        "digest": model.digest,
        "key": model.key,
        "recipe": model.recipe,
        "code": model.card.get("code"),
        "adapter": model.card.get("adapter"),
        "modality": model.modality,
        "config": model.config,
        "tile": model.tile,
        "data_digest": model.data_digest,
        "code_version": model.code_version,
    }


def pinned(tx: Transaction, job: JobRow, spec: JobSpec) -> ModelRow | None:
    """Return the version a Job uses: pinned before, else what a needed job published, else the catalog's.

    What a Job draws from, judges or compresses is pinned with its first Run. What a train Job builds on is the same
    whenever it is looked for, since submit takes a number or a needed job; its pinned version is what it published.
    """
    if job.model_version_id is not None:
        return tx.models.get(job.model_version_id)
    ref = model_ref(spec)
    if ref is None:
        return None
    for need in tx.jobs.needs_of(job.id):
        if need.kind in PUBLISHES_MODEL and need.model_version_id is not None:
            version = tx.models.get(need.model_version_id)
            if version.name == ref.name and ref.version in (None, version.version):
                return version
    return tx.models.find(job.tenant_id, ref)


def _fail_without_model(w: Wiring, tx: Transaction, effects: Effects, job: JobRow, spec: JobSpec) -> None:
    purposes = {JobKind.GENERATE: "generate with", JobKind.TRAIN: "build on", JobKind.COMPRESS: "compress"}
    purpose = purposes.get(JobKind(job.kind), "judge")
    message = f"There is no model {str(model_ref(spec))!r} to {purpose}."
    hint = "`genctl models ls` lists what there is; the jobs it needs may have published another name."
    fail_job(w, tx, effects, job, Ending(Cause.USER_ERROR, message, hint))
