"""A catalog with a past: any number of jobs that ended, queue or wait, made by the database itself.

Every row is one that the platform could have written: specs as they are stored, three tenants,
four queues, sixty names, four sizes of workers, runs and events of each ended job, shards, log lines
and artifacts where they belong.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from genplatform.catalog import database, tables
from genplatform.spec import RecipeBook, load

NOW = 1_800_000_000.0
# Between one submit and the next.
STEP_SECONDS = 7.0
# The ids' letters, and a multiplier that scatters numbers over all ids: public ids are random first.
LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"
SCATTER = 618_033_988_749
IDS = len(LETTERS) ** 10

TRAIN = "kind: train\nname: NAME\nrecipe: gan\ndata: {source: digits}\nbudget: {steps: 1000}\n"
GENERATE = "kind: generate\nname: NAME\nmodel: noise@1\ncount: 192\nbatch_size: 64\n"

ENDING = "CASE WHEN n % 13 = 0 THEN 'failed' WHEN n % 17 = 0 THEN 'cancelled' ELSE 'succeeded' END"
# Every fifth job is one of the nightly ones; one queue is used by few.
NAME = "CASE WHEN n % 5 = 0 THEN 'nightly' ELSE 'job-' || (n % 60) END"
QUEUE = "CASE WHEN n % 997 = 0 THEN 'rare' WHEN n % 3 = 0 THEN 'batch' WHEN n % 7 = 0 THEN 'night' ELSE 'default' END"
TENANT = "CASE WHEN n % 20 = 7 THEN 'acme' WHEN n % 200 = 9 THEN 'tiny' ELSE 'default' END"
AT = "CAST(:begun AS double precision) + n * CAST(:step AS double precision)"
KINDS = (
    ("submitted", '{"state": "queued"}'),
    ("starting", '{"run": 1, "workers": 1, "done": 0}'),
    ("running", '{"run": 1, "node": "n1", "worker": "w1"}'),
    ("ended", '{"run": 1}'),
)


@dataclass(frozen=True)
class Past:
    """How many jobs of each sort a catalog holds. Those that wait need the first of those that are queued."""

    ended: int
    queued: int = 0
    waiting: int = 0


def fill(url: str, past: Past) -> None:
    """Add a past to a migrated catalog that has no jobs, and let PostgreSQL see how large its tables are now."""
    engine = database.connect(url)
    postgres = engine.dialect.name == "postgresql"
    if not postgres:
        sa.event.listen(engine, "connect", _hurry)
    with engine.begin() as connection:
        _add(connection, past)
    if postgres:
        # As autovacuum does on a server that has been up for a minute. SQLite's planner is given no statistics.
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
    engine.dispose()


def _hurry(connection: Any, _record: object) -> None:
    for pragma in ("synchronous = OFF", "cache_size = -1000000"):
        connection.execute(f"PRAGMA {pragma}")


def _add(db: Connection, past: Past) -> None:
    postgres = db.dialect.name == "postgresql"
    total = past.ended + past.queued + past.waiting
    values = {
        "ended": past.ended,
        "queued_to": past.ended + past.queued,
        "total": total,
        "begun": NOW - total * STEP_SECONDS,
        "step": STEP_SECONDS,
        "train": _stored(TRAIN),
        "generate": _stored(GENERATE),
        "labels": '{"team": "vision"}',
        "letters": LETTERS,
        "digest": "d" * 64,
    }
    # In one go after the rows, an index costs a fraction of what it costs row by row.
    indexes = [index for table in tables.metadata.sorted_tables for index in table.indexes]
    for index in indexes:
        index.drop(db)
    if postgres:
        db.exec_driver_sql("SET LOCAL session_replication_role = replica")  # the references are right as they are made
    for statement in _statements(postgres):
        text = sa.text(statement)
        db.execute(text, {name: values[name] for name in text._bindparams})
    for index in indexes:
        index.create(db)
    if postgres:
        for name in ("jobs", "runs", "events", "logs", "artifacts", "submissions"):
            db.exec_driver_sql(f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), max(id)) FROM {name}")


def _stored(text: str) -> str:
    (document,) = load(text.encode(), "application/yaml", RecipeBook.builtin(), (), {})
    return json.dumps(document.spec.model_dump(mode="json"))


def _statements(postgres: bool) -> list[str]:
    counted = "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < :total)"
    series = f"({counted} SELECT n FROM s WHERE :total > 0) AS t"
    if postgres:
        series = "generate_series(1, CAST(:total AS bigint)) AS t(n)"
    as_json = "CAST({} AS jsonb)" if postgres else "{}"
    return [
        f"INSERT INTO submissions (id, tenant_id, key, body_digest, count, created_at)"
        f" SELECT 1 + (n - 1) / 4, 'default', 'key-' || n, :digest, 4, {AT} FROM {series} WHERE n % 4 = 1",
        _jobs(series, as_json),
        _runs(),
        _events(as_json),
        "INSERT INTO logs (tenant_id, job_pk, run, seq, time, text)"
        " SELECT tenant_id, id, 1, k, created_at + 5 + k, 'step ' || k || ' of this run, what it lost and how fast'"
        " FROM jobs JOIN (SELECT 1 AS k UNION ALL SELECT 2) AS lines ON 1 = 1"
        " WHERE kind = 'train' AND id <= :ended ORDER BY id, k",
        "INSERT INTO artifacts (tenant_id, job_pk, run, kind, key, sha256, size, step, created_at)"
        " SELECT tenant_id, id, 1, CASE WHEN kind = 'train' THEN 'checkpoint' ELSE 'manifest' END,"
        " 'jobs/' || tenant_id || '/' || job_id || '/one', :digest, 123456, 1000, finished_at"
        " FROM jobs WHERE state = 'succeeded' ORDER BY id",
        "INSERT INTO shards (job_pk, number, tenant_id, start, count, state, run, claim, worker, failures, folder,"
        " failed_items, manifest_sha256, size, published_at)"
        " SELECT id, k, tenant_id, k * 64, 64, 'published', 1, 1, 'w1', 0, 'shard-00000' || k || '.r1.c1', 0, :digest,"
        " 54321, finished_at"
        " FROM jobs JOIN (SELECT 0 AS k UNION ALL SELECT 1 UNION ALL SELECT 2) AS parts ON 1 = 1"
        " WHERE kind = 'generate' AND id <= :ended ORDER BY id, k",
        "INSERT INTO needs (job_pk, needs_pk, tenant_id)"
        " SELECT id, :ended + 1, tenant_id FROM jobs WHERE id > :queued_to AND :ended < :queued_to",
    ]


def _jobs(series: str, as_json: str) -> str:
    number = f"(n * {SCATTER} % {IDS})"
    letter = "substr(CAST(:letters AS text), CAST({number} / {power} % {base} AS integer) + 1, 1)"
    letters = [letter.format(number=number, power=len(LETTERS) ** k, base=len(LETTERS)) for k in range(10)]
    spec = f"replace(CASE WHEN n % 2 = 0 THEN CAST(:train AS text) ELSE CAST(:generate AS text) END, 'NAME', {NAME})"
    spec = f"""replace({spec}, '"cpus_per_worker"\\: 1.0', '"cpus_per_worker"\\: ' || (1 + n % 4) || '.0')"""
    failed = "CASE WHEN n <= :ended AND n % 13 = 0 THEN '{}' END"
    code, message = failed.format("user_error"), failed.format("It broke.")
    values = {
        "id": "n",
        "tenant_id": TENANT,
        "job_id": "'j_' || " + " || ".join(letters),
        "name": NAME,
        "kind": "CASE WHEN n % 2 = 0 THEN 'train' ELSE 'generate' END",
        "queue": QUEUE,
        "priority": "CASE WHEN n % 10 = 0 THEN 700 ELSE 500 END",
        "labels": as_json.format(":labels"),
        "spec": as_json.format(spec),
        "state": f"CASE WHEN n > :queued_to THEN 'waiting' WHEN n > :ended THEN 'queued' ELSE {ENDING} END",
        "reason_code": f"CASE WHEN n > :queued_to THEN 'needs_job' ELSE {code} END",
        "reason_message": f"CASE WHEN n > :queued_to THEN 'It waits.' ELSE {message} END",
        "open_needs": "CASE WHEN n > :queued_to THEN 1 ELSE 0 END",
        "run": "CASE WHEN n > :ended THEN 0 WHEN n % 10 = 3 THEN 2 ELSE 1 END",
        "workers": "CASE WHEN n > :ended THEN 0 ELSE 1 END",
        "done": "CASE WHEN n > :ended THEN 0 WHEN n % 2 = 0 THEN 1000 ELSE 192 END",
        "total": "CASE WHEN n % 2 = 0 THEN 1000 ELSE 192 END",
        "unit": "CASE WHEN n % 2 = 0 THEN 'steps' ELSE 'items' END",
        "error_code": code,
        "error_message": message,
        "error_hint": failed.format("Mend it."),
        "submission_pk": "1 + (n - 1) / 4",
        "created_at": AT,
        "started_at": f"CASE WHEN n <= :ended THEN {AT} + 5 END",
        "finished_at": f"CASE WHEN n <= :ended THEN {AT} + 95 END",
    }
    return f"INSERT INTO jobs ({', '.join(values)}) SELECT {', '.join(values.values())} FROM {series}"


def _runs() -> str:
    values = {
        "tenant_id": "tenant_id",
        "job_pk": "n",
        "number": "k",
        "state": f"CASE WHEN k < run THEN 'lost' ELSE {ENDING} END",
        "cause": "CASE WHEN k < run THEN 'node_lost' WHEN n % 13 = 0 THEN 'user_error' END",
        "message": "CASE WHEN k < run THEN 'Its node is gone.' WHEN n % 13 = 0 THEN 'It broke.' END",
        "node": "'node-' || (n % 16)",
        "worker": "'run/' || job_id || '/' || k",
        "term": "1",
        "opened_at": "created_at + 1",
        "started_at": "created_at + 5",
        "finished_at": "finished_at",
    }
    return (
        f"INSERT INTO runs ({', '.join(values)}) SELECT {', '.join(values.values())}"
        " FROM (SELECT id AS n, tenant_id, job_id, run, created_at, finished_at FROM jobs WHERE id <= :ended) AS j"
        " JOIN (SELECT 1 AS k UNION ALL SELECT 2) AS tries ON k <= run ORDER BY n, k"
    )


def _events(as_json: str) -> str:
    # A colon begins a parameter, but for those inside the data.
    kinds = " UNION ALL ".join(
        f"SELECT {k} AS k, '{type_}' AS type, '{data}' AS data".replace('":', '"\\:')
        for k, (type_, data) in enumerate(KINDS)
    )
    return (
        "INSERT INTO events (tenant_id, job_pk, time, type, data)"
        f" SELECT tenant_id, n, created_at + k, CASE WHEN k = 3 THEN state ELSE type END, {as_json.format('data')}"
        " FROM (SELECT id AS n, tenant_id, created_at, state FROM jobs) AS j"
        f" JOIN ({kinds}) AS kinds ON k = 0 OR n <= :ended ORDER BY n, k"
    )
