"""Records as programs see them: the JSON shapes of the API, stable from the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genplatform.catalog import (
    ArtifactRow,
    EndpointRow,
    EvaluationRow,
    EventRow,
    JobRow,
    LogRow,
    ModelRow,
    RunRow,
    Transaction,
)
from genplatform.domain import layout
from genplatform.domain.job import JobKind
from genplatform.domain.log_lines import LineNumber
from genplatform.domain.states import JobState
from genplatform.domain.times import rfc3339
from genplatform.services.context import Wiring


def jobs(w: Wiring, tx: Transaction, rows: Sequence[JobRow]) -> list[dict[str, Any]]:
    """Return jobs with their runs and models: two look-ups for the whole page."""
    runs = tx.runs.of_jobs([j.id for j in rows]) if rows else {}
    versions = {pk: tx.models.get(pk) for pk in {j.model_version_id for j in rows} if pk is not None}
    return [job(w, j, runs.get(j.id, []), versions) for j in rows]


def job(w: Wiring, row: JobRow, runs: Sequence[RunRow], versions: Mapping[int, ModelRow]) -> dict[str, Any]:
    """Return one job."""
    version = versions.get(row.model_version_id) if row.model_version_id is not None else None
    error = None
    if row.error_code is not None:
        error = {"code": row.error_code, "message": row.error_message, "hint": row.error_hint}
    return {
        "id": row.job_id,
        "name": row.name,
        "kind": row.kind,
        "state": row.state,
        "reason": row.reason.as_json() if row.reason else None,
        "position": None,
        "queue": row.queue,
        "priority": row.priority,
        "labels": row.labels,
        "retry_of": row.retry_of,
        "progress": row.progress.as_json() if row.progress else None,
        "runs": [run(r) for r in runs],
        "model": version.ref if version else None,
        "outputs": outputs(w, row),
        "error": error,
        "retry_at": rfc3339(row.run_at) if row.job_state is JobState.WAITING else None,
        "deadline_at": rfc3339(row.deadline_at),
        "created_at": rfc3339(row.created_at),
        "started_at": rfc3339(row.started_at),
        "finished_at": rfc3339(row.finished_at),
    }


def outputs(w: Wiring, row: JobRow) -> dict[str, Any] | None:
    """Return how many items of a generate job, or files of a command, are published, and where."""
    match row.kind:
        case JobKind.GENERATE:
            return {"count": row.done, "uri": w.store.uri(layout.outputs(row.key))}
        case JobKind.COMMAND if row.job_state is JobState.SUCCEEDED:
            return {"count": row.done, "uri": w.store.uri(layout.files(row.run_key))}
        case _:
            return None


def run(row: RunRow) -> dict[str, Any]:
    """Return one run of a job."""
    return {
        "number": row.number,
        "state": row.state,
        "cause": row.cause,
        "message": row.message,
        "node": row.node,
        "worker": row.worker,
        "opened_at": rfc3339(row.opened_at),
        "started_at": rfc3339(row.started_at),
        "finished_at": rfc3339(row.finished_at),
    }


def event(row: EventRow) -> dict[str, Any]:
    """Return one event."""
    return {"id": str(row.id), "time": rfc3339(row.time), "type": row.type, "data": row.data}


def log_line(row: LogRow) -> dict[str, Any]:
    """Return one log line."""
    _, rank, stream = LineNumber.of(row.seq)
    said = {"id": row.id, "run": row.run, "rank": rank, "stream": stream.word}
    return said | {"time": rfc3339(row.time), "text": row.text}


def artifact(w: Wiring, row: ArtifactRow) -> dict[str, Any]:
    """Return one artifact."""
    return {
        "kind": row.kind,
        "run": row.run,
        "step": row.step,
        "path": row.key,
        "uri": w.store.uri(row.key),
        "sha256": row.sha256,
        "size": row.size,
        "created_at": rfc3339(row.created_at),
    }


def model(row: ModelRow) -> dict[str, Any]:
    """Return one model version."""
    return {
        "name": row.name,
        "version": row.version,
        "aliases": ["latest"] if row.newest else [],
        "recipe": row.recipe,
        "modality": row.modality,
        "job_id": row.job_id,
        "parent": row.parent,
        "digest": row.digest,
        "data_digest": row.data_digest,
        "metrics": row.metrics,
        "tile": row.tile,
        "created_at": rfc3339(row.created_at),
    }


def evaluation(row: EvaluationRow) -> dict[str, Any]:
    """Return what a job found of a model version; it says first which job, and when."""
    return {"job_id": row.job_id, "created_at": rfc3339(row.created_at)} | row.found


def endpoint(w: Wiring, row: EndpointRow, version: ModelRow) -> dict[str, Any]:
    """Return one endpoint; its `url` is the base that an OpenAI client is given."""
    reason = None
    if row.reason_code is not None:
        reason = {"code": row.reason_code, "message": row.reason_message}
    return {
        "name": row.name,
        "state": row.state,
        "url": f"{w.url}/v1",
        "model": version.ref,
        "replicas": {"ready": row.ready, "min": row.min_replicas, "max": row.max_replicas},
        "reason": reason,
        "created_at": rfc3339(row.created_at),
        "confirmed_at": rfc3339(row.confirmed_at),
    }
