"""What code on nodes may say and ask: started, heartbeat, progress, artifact, failed, released; `claiming` is apart.

A node is believed about its own Run or claim and about nothing else, and only while that
Run or claim is the current one in the catalog.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genplatform.catalog import JobRow, Transaction
from genplatform.domain import layout
from genplatform.domain.keys import ClaimKey, JobKey, LeaseKey, RunKey
from genplatform.domain.retry import Cause
from genplatform.domain.states import ACTIVE_JOB_STATES, JobState, RunState, ShardState
from genplatform.domain.times import LEASE_SECONDS
from genplatform.domain.tokens import Grant, RunGrant
from genplatform.errors import BadRequest, Fenced, Unauthorized, Unavailable
from genplatform.services import limits, wire
from genplatform.services.claiming import AT_WORK, pool_of_grant
from genplatform.services.claims import end_claim
from genplatform.services.context import Effects, Wiring, hint
from genplatform.services.endings import Ending, close_run
from genplatform.services.publish import publish_evaluation, publish_files, publish_model, publish_shards

CHECKPOINTS_KEPT = 3


def started(w: Wiring, grant: Grant, body: Mapping[str, Any]) -> dict[str, Any]:
    """Note that a Run's worker is at work. Raises Fenced when the Run is not the current one."""
    said = wire.parse(wire.Started, body)
    key = own_run(grant, said)
    with w.catalog.write() as tx:
        job = current_job(tx, key)
        _note_running(w, tx, job, said.node, said.worker)
    with hint():
        w.queues.grant([key], LEASE_SECONDS)
    return {}


def heartbeat(w: Wiring, grant: Grant, body: Mapping[str, Any]) -> dict[str, Any]:
    """Lengthen a worker's leases; return what it should stop and why.

    A lease that Redis does not know is lost only when the catalog says so too: after a
    wipe of Redis, work that is still current is taken up again as it is.
    """
    said = wire.parse(wire.Heartbeat, body)
    leases: list[LeaseKey] = [own_run(grant, r) for r in said.runs] + [own_claim(grant, c) for c in said.claims]
    unknown = leases
    stops: dict[JobKey, str] = {}
    with hint():
        unknown = w.queues.renew(leases, LEASE_SECONDS)
        stops = w.queues.stops(sorted({lease.job for lease in leases}))
    lost = _not_current(w, unknown) if unknown else set()
    # What nobody can be asked about is not told to stop, and not granted either: nobody would ask about it again.
    kept = [] if lost is None else [lease for lease in unknown if lease not in lost]
    if kept:
        with hint():
            w.queues.grant(kept, LEASE_SECONDS)
    told = [_stop(lease, "lost" if lease in (lost or ()) else stops.get(lease.job, "")) for lease in leases]
    return {"stop": [stop for stop in told if stop["reason"]]}


def progress(w: Wiring, grant: Grant, body: Mapping[str, Any]) -> dict[str, Any]:
    """Pass progress, metrics and log lines on; the dispatcher folds them into the catalog in batches."""
    said = wire.parse(wire.Report, body)
    key = own_run(grant, said)
    w.queues.report([said.model_dump(mode="json") | {"tenant": key.tenant}])
    return {}


def artifact(w: Wiring, grant: Grant, body: Mapping[str, Any]) -> dict[str, Any]:
    """Record what a Run made under its fence; checkpoints that newer or better ones replace are forgotten."""
    said = wire.parse(wire.ArtifactBody, body)
    key = own_run(grant, said)
    if not said.key.startswith(f"{layout.job(key.job)}/"):
        raise BadRequest(f"The key {said.key!r} is not below {layout.job(key.job)}.", "Put it where layout says.")
    now = w.clock()
    with w.catalog.write() as tx:
        job = current_job(tx, key)
        if job.job_state not in AT_WORK and said.kind != "log":
            raise _fenced(key)  # a cancel that was acknowledged lets nothing more into the record but words
        if any((a.key, a.run) == (said.key, key.run) for a in tx.artifacts.of_job(job.id, said.kind)):
            return {}  # told again, because the answer was lost
        values = said.model_dump(exclude={"job_id"})
        tx.artifacts.insert(values | {"tenant_id": key.tenant, "job_pk": job.id, "created_at": now})
        told = {"path": said.key, "uri": w.store.uri(said.key), "step": said.step, "run": said.run}
        tx.events.add(key.tenant, job.id, now, said.kind, told)
        if said.kind == "checkpoint":
            keep = int((job.spec.get("checkpoint") or {}).get("keep", CHECKPOINTS_KEPT))
            tx.jobs.touch(job.id, run=key.run, progressed_at=now)
            old = [a.key for a in tx.artifacts.of_job(job.id, "checkpoint")[keep:]]
            tx.artifacts.forget(job.id, old)
        if said.kind == "best_checkpoint":
            tx.artifacts.forget(job.id, [a.key for a in tx.artifacts.of_job(job.id, said.kind)[1:]])
    return {}


def publish(w: Wiring, grant: Grant, body: Mapping[str, Any]) -> dict[str, Any]:
    """Publish a model, an evaluation, a command's files, or shards: each one transaction under its fences."""
    if body.get("kind") == "model":
        model = wire.parse(wire.PublishModel, body)
        return publish_model(w, own_run(grant, model), model)
    if body.get("kind") == "evaluation":
        evaluation = wire.parse(wire.PublishEvaluation, body)
        return publish_evaluation(w, own_run(grant, evaluation), evaluation)
    if body.get("kind") == "files":
        files = wire.parse(wire.PublishFiles, body)
        return publish_files(w, own_run(grant, files), files)
    shards = wire.parse(wire.PublishShards, body)
    return publish_shards(w, pool_of_grant(grant), [(own_claim(grant, s), s) for s in shards.shards])


def failed(w: Wiring, grant: Grant, body: Mapping[str, Any]) -> dict[str, Any]:
    """Take note that a Run, or one claim, ended in an error; the retry policy decides what follows."""
    said = wire.parse(wire.Failed, body)
    ending = Ending(said.cause, said.message, said.hint)
    if said.shard is None or said.claim is None:
        key = own_run(grant, said)
        if close_run(w, key, ending) is None:
            raise _fenced(key)
        return {}
    claim = own_claim(grant, wire.ClaimBody(job_id=said.job_id, run=said.run, shard=said.shard, claim=said.claim))
    effects = Effects()
    with w.catalog.write() as tx:
        job = current_job(tx, RunKey(*claim[:3]))
        if job.pool != pool_of_grant(grant):
            raise _fenced(RunKey(*claim[:3]))
        end_claim(w, tx, effects, job, claim, ending)
    effects.run()
    return {}


def released(w: Wiring, grant: Grant, body: Mapping[str, Any]) -> dict[str, Any]:
    """Close a Run that stopped because it was asked to; its budget of tries is not touched."""
    said = wire.parse(wire.Released, body)
    key = own_run(grant, said)
    with w.catalog.read() as tx:
        job = tx.jobs.by_id(key.tenant, key.job_id)
    if job is None or close_run(w, key, _let_go(job, said)) is None:
        raise _fenced(key)
    return {}


def _let_go(job: JobRow, said: wire.Released) -> Ending:
    at = "" if said.step is None else f" at step {said.step}"
    match said.reason:
        case "timeout":
            return limits.timed_out(job, f"It stopped{at} as asked.")
        case "stalled":
            return limits.stalled(job, f"It stopped{at} as asked.")
        case "deadline":
            return limits.overdue(job, f"It stopped{at} as asked.")
        case _:
            cause = {"cancel": Cause.CANCELLED, "pause": Cause.PAUSED, "shutdown": Cause.SHUTDOWN}[said.reason]
            return Ending(cause, f"It stopped{at} as asked ({said.reason}).")


def own_run(grant: Grant, body: wire.RunBody) -> RunKey:
    """Return the Run a body speaks of; raises Unauthorized when the token is for another."""
    if grant != RunGrant(grant.tenant, body.job_id, body.run):
        raise Unauthorized("This token does not speak for that run.", "Use the token the run was started with.")
    return RunKey(grant.tenant, body.job_id, body.run)


def own_claim(grant: Grant, body: wire.ClaimBody) -> ClaimKey:
    """Return the claim a body speaks of; raises Unauthorized when the token is not a pool's."""
    pool_of_grant(grant)
    return ClaimKey(grant.tenant, body.job_id, body.run, body.shard, body.claim)


def current_job(tx: Transaction, key: RunKey) -> JobRow:
    """Return the locked Job whose current, open Run this is; raises Fenced."""
    job = tx.jobs.by_id(key.tenant, key.job_id, lock=True)
    if job is None or job.run != key.run or job.job_state not in ACTIVE_JOB_STATES:
        raise _fenced(key)
    return job


def _fenced(key: RunKey) -> Fenced:
    return Fenced(f"Run {key.run} of job {key.job_id} is not the current one.", "Stop; another run took over.")


def _note_running(w: Wiring, tx: Transaction, job: JobRow, node: str, worker: str) -> None:
    now = w.clock()
    if job.job_state not in AT_WORK:
        return
    if tx.runs.move(job.id, job.run, RunState.RUNNING, node=node, worker=worker, started_at=now):
        values: dict[str, Any] = {"started_at": job.started_at or now, "progressed_at": now}
        if job.wish is None:
            values |= {"reason_code": None, "reason_message": None}
        tx.jobs.move(job.id, JobState.RUNNING, run=job.run, **values)
        tx.events.add(job.tenant_id, job.id, now, "running", {"run": job.run, "node": node, "worker": worker})


def _not_current(w: Wiring, leases: list[LeaseKey]) -> set[LeaseKey] | None:
    """Return those leases that the catalog does not know as current; None when it cannot be asked."""
    lost: set[LeaseKey] = set()
    try:
        with w.catalog.read() as tx:
            for lease in leases:
                job = tx.jobs.by_id(lease.tenant, lease.job_id)
                if job is None or job.run != lease.run or job.job_state not in ACTIVE_JOB_STATES:
                    lost.add(lease)
                elif isinstance(lease, ClaimKey):
                    shard = tx.shards.get(job.id, lease.shard)
                    if shard is None or shard.claim != lease.claim or shard.state != ShardState.CLAIMED:
                        lost.add(lease)
    except Unavailable:
        return None
    return lost


def _stop(lease: LeaseKey, reason: str) -> dict[str, Any]:
    shard = lease.shard if isinstance(lease, ClaimKey) else None
    return {"job_id": lease.job_id, "run": lease.run, "shard": shard, "reason": reason}
