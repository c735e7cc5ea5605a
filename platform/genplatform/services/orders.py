"""Orders: what the actor of a Run is given, a kind. A new kind of job with an actor of its own is one line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from genplatform.catalog import ArtifactRow, JobRow, Transaction
from genplatform.domain.job import JobKind
from genplatform.domain.keys import RunKey
from genplatform.domain.times import HEARTBEAT_SECONDS
from genplatform.domain.tokens import RunGrant, issue
from genplatform.services.context import Wiring
from genplatform.spec import parse_stored, published_name

THREADS = 1
# A Run is offered older ones than the newest in case that is damaged.
MOST_CHECKPOINTS = 3
BEST = "best_checkpoint"


def run_order(w: Wiring, tx: Transaction, job: JobRow, run: RunKey, api_url: str) -> dict[str, Any]:
    """Return what a Run's actor is given."""
    common = {
        "tenant": run.tenant,
        "job_id": run.job_id,
        "run": run.run,
        "name": job.name,
        "actor": run.actor,
        "api_url": api_url,
        "token": issue(w.node_secret(tx), RunGrant(*run)),
        "store_url": w.store.url,
        "resume": [_saved(c) for c in _of_line(tx, job, "checkpoint", MOST_CHECKPOINTS)],
        "heartbeat_seconds": HEARTBEAT_SECONDS,
    }
    return common | _OF_KIND[JobKind(job.kind)](w, tx, job)


def _train(w: Wiring, tx: Transaction, job: JobRow) -> dict[str, Any]:
    spec = job.spec
    return {
        "recipe": spec["recipe"],
        "params": spec["params"],
        "data": spec["data"],
        "folders": list(w.folders),
        "split": spec["split"],
        "budget": spec["budget"],
        "seed": spec["seed"],
        "checkpoint": spec["checkpoint"],
        "sheet_every": spec["sheet_every"],
        # Jobs that an older version submitted say nothing of these.
        "evaluate_every": spec.get("evaluate_every"),
        "optimization": spec.get("optimization"),
        "early_stopping": spec.get("early_stopping"),
        "lora": spec.get("lora"),
        "privacy": spec.get("privacy"),
        "best": _best(tx, job),
        "evaluate": spec.get("evaluate"),
        "publish": published_name(parse_stored(spec)),
        "threads": THREADS,
    }


def _evaluate(w: Wiring, _: Transaction, job: JobRow) -> dict[str, Any]:
    fields = ("data", "split", "metrics", "samples", "seed")
    return {name: job.spec[name] for name in fields} | {"folders": list(w.folders), "threads": THREADS}


def _compress(w: Wiring, tx: Transaction, job: JobRow) -> dict[str, Any]:
    return _evaluate(w, tx, job) | {"method": job.spec["method"]}


def _command(w: Wiring, _: Transaction, job: JobRow) -> dict[str, Any]:
    fields = ("command", "shell", "env", "workdir", "checkpoint_every")
    # A spec of before there was `pip:` has none.
    pip = list(job.spec.get("pip", ()))
    return {name: job.spec[name] for name in fields} | {"folders": list(w.folders), "pip": pip}


_OF_KIND: dict[JobKind, Callable[[Wiring, Transaction, JobRow], dict[str, Any]]] = {
    JobKind.TRAIN: _train,
    JobKind.EVALUATE: _evaluate,
    JobKind.COMPRESS: _compress,
    JobKind.COMMAND: _command,
}


def _best(tx: Transaction, job: JobRow) -> dict[str, Any] | None:
    """Return the best checkpoint until now, of the jobs that a Run may go on from."""
    found = _of_line(tx, job, BEST, 1)
    return _saved(found[0]) if found else None


def _saved(checkpoint: ArtifactRow) -> dict[str, Any]:
    return {"key": checkpoint.key, "sha256": checkpoint.sha256, "step": checkpoint.step}


def _of_line(tx: Transaction, job: JobRow, kind: str, most: int) -> list[ArtifactRow]:
    """Return what a Run may go on from, newest first: its job's own, then those of the jobs it does again."""
    found = tx.artifacts.of_job(job.id, kind)
    while len(found) < most and job.retry_of is not None:
        before = tx.jobs.by_id(job.tenant_id, job.retry_of)
        if before is None:
            break
        job = before
        found += tx.artifacts.of_job(job.id, kind)
    return found
