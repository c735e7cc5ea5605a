"""Fold reports of progress, metrics and logs into the catalog, in batches."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

from genplatform.catalog import JobRow, Transaction
from genplatform.domain.history import MOVES
from genplatform.domain.job import JobKind
from genplatform.domain.keys import JobKey
from genplatform.domain.log_lines import FIRST_KEPT, LAST_KEPT, SLACK, LineNumber
from genplatform.errors import BadRequest
from genplatform.services import wire
from genplatform.services.context import Wiring
from genplatform.services.leadership import led

BATCH = 500


def fold(w: Wiring, term: int) -> int:
    """Commit the oldest reports, then drop them from Redis; returns how many."""
    read = w.queues.read_reports(BATCH)
    if not read.entries:
        return 0
    by_job: dict[JobKey, list[wire.Report]] = defaultdict(list)
    for entry in read.entries:
        try:
            report = wire.parse(wire.Report, entry)
        except BadRequest:
            continue  # a forged or torn entry says nothing
        by_job[JobKey(report.tenant, report.job_id)].append(report)
    with led(w, term) as tx:
        for key, reports in by_job.items():
            job = tx.jobs.by_id(key.tenant, key.job_id)
            if job is not None:
                _fold_job(tx, job, reports, w.clock())
    w.queues.drop_reports(read)
    return len(read.entries)


def _fold_job(tx: Transaction, job: JobRow, reports: list[wire.Report], now: float) -> None:
    # A Run that never was says nothing; one that is over may still tell its last words.
    reports = [r for r in reports if 1 <= r.run <= job.run]
    told = [r for r in reports if r.progress is not None]
    # Others have done what they published.
    if told and told[-1].progress is not None and job.kind in (JobKind.TRAIN, JobKind.EVALUATE, JobKind.COMPRESS):
        p = told[-1].progress
        rate = p.rate if p.rate is not None and math.isfinite(p.rate) else None
        # Another number is a step further, also where a Run goes on from before the last one's end.
        further = {"progressed_at": now} if p.done != job.done else {}
        tx.jobs.touch(job.id, run=told[-1].run, done=p.done, total=p.total, unit=p.unit[:64], rate=rate, **further)
    if job.kind == JobKind.COMMAND and any(r.logs for r in reports if r.run == job.run):
        tx.jobs.touch(job.id, run=job.run, progressed_at=now)  # of a command nobody knows more than that it speaks
    row = {"tenant_id": job.tenant_id, "job_pk": job.id}
    events: list[dict[str, Any]] = []
    logs: list[dict[str, Any]] = []
    for report in reports:
        for m in report.metrics:
            values = {k: v if v is None or math.isfinite(v) else str(v) for k, v in m.values.items()}
            data = {"run": report.run, "step": m.step, "values": values}
            events.append(row | {"time": m.time, "type": "metrics", "data": data})
        for e in report.events:
            events.append(row | {"time": e.time, "type": _kind(e.type), "data": e.data | {"run": report.run}})
        for line in report.logs:
            logs.append(row | {"run": report.run, "seq": line.seq, "time": line.time, "text": _clean(line.text)})
    tx.events.add_many(events)
    tx.events.add_logs(logs)
    for run in sorted({line["run"] for line in logs}):
        newest = max(LineNumber.of(line["seq"]).nth for line in logs if line["run"] == run)
        if newest > FIRST_KEPT + LAST_KEPT + SLACK:
            tx.events.cut_logs(job.tenant_id, job.id, run, FIRST_KEPT, newest - LAST_KEPT, now)


def _kind(said: str) -> str:
    """Return a worker's word as an event's type; only the platform says where a job stands."""
    return (f"worker_{said}" if said in MOVES else said)[:64]


def _clean(text: str) -> str:
    # PostgreSQL's text holds no NUL.
    return text.replace("\x00", "\\x00")
