"""What the record says at one moment: read after every commit, table by table, by a connection of its own."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool
from statements import Short

from genplatform.catalog import migrate
from genplatform.catalog.tables import metadata
from genplatform.domain.states import ACTIVE_JOB_STATES, TERMINAL_JOB_STATES

# Shared by the connections of this process and kept by nothing else: an ordinary database to the catalog.
MEMORY = "file:/simulation?vfs=memdb"
# More than the catalog has, so that SQLite prepares each once.
STATEMENTS = 1000
URL = f"sqlite:///{MEMORY}&uri=true"

OPEN = frozenset(s.value for s in ACTIVE_JOB_STATES)
OVER = frozenset(s.value for s in TERMINAL_JOB_STATES)


class Job(NamedTuple):
    """A row of `jobs`."""

    id: int
    job_id: str
    name: str
    kind: str
    state: str
    run: int
    workers: int
    done: int
    total: int
    pool: str | None
    model: int | None
    reason: str | None
    run_at: float | None
    open_needs: int
    retry_of: str | None
    progressed_at: float | None


class Run(NamedTuple):
    """A row of `runs`."""

    job: int
    number: int
    state: str
    cause: str | None
    term: int


class Shard(NamedTuple):
    """A row of `shards`."""

    job: int
    number: int
    state: str
    run: int
    claim: int
    count: int
    failures: int
    worker: str | None
    folder: str | None
    sha256: str | None


class Event(NamedTuple):
    """A row of `events`."""

    id: int
    job: int
    type: str
    data: dict[str, Any]


JOBS = (
    "SELECT id, job_id, name, kind, state, run, workers, done, total, pool, model_version_id, reason_code, run_at,"
    " open_needs, retry_of, progressed_at FROM jobs"
)
RUNS = "SELECT job_pk, number, state, cause, term FROM runs"
SHARDS = "SELECT job_pk, number, state, run, claim, count, failures, worker, folder, manifest_sha256 FROM shards"
MODELS = "SELECT job_id, id FROM model_versions WHERE job_id IS NOT NULL"
ARTIFACTS = "SELECT id, job_pk, run, kind, key, sha256 FROM artifacts"
TERM = "SELECT term FROM leaders"
SUBMISSIONS = "SELECT key, count FROM submissions"
EVENTS = "SELECT id, job_pk, type, data FROM events WHERE id > ? ORDER BY id"


class Snapshot:
    """The record at one moment; `events` are those since the moment before.

    Only the tables that were written to since are read again.
    """

    def __init__(
        self, raw: sqlite3.Connection | None = None, old: Snapshot | None = None, written: Collection[str] = ()
    ) -> None:
        if raw is None or old is None:
            self.jobs: dict[int, Job] = {}
            self.runs: dict[tuple[int, int], Run] = {}
            self.shards: dict[tuple[int, int], Shard] = {}
            self.models: list[tuple[str, int]] = []
            self.artifacts: list[tuple[int, int, int, str, str, str]] = []
            self.submissions: dict[str, int] = {}
            self.events: list[Event] = []
            self.last_event = 0
            self.term = 0
            return
        self.jobs, self.runs, self.shards = old.jobs, old.runs, old.shards
        self.models, self.artifacts, self.submissions = old.models, old.artifacts, old.submissions
        self.events = []
        if "jobs" in written:
            self.jobs = {row[0]: Job._make(row) for row in raw.execute(JOBS)}
        if "runs" in written:
            self.runs = {row[:2]: Run._make(row) for row in raw.execute(RUNS)}
        if "shards" in written:
            self.shards = {row[:2]: Shard._make(row) for row in raw.execute(SHARDS)}
        if "model_versions" in written:
            self.models = raw.execute(MODELS).fetchall()
        if "artifacts" in written:
            self.artifacts = raw.execute(ARTIFACTS).fetchall()
        if "submissions" in written:
            self.submissions = dict(raw.execute(SUBMISSIONS).fetchall())
        if "events" in written:
            rows = raw.execute(EVENTS, (old.last_event,))
            self.events = [Event(pk, job, type_, json.loads(data)) for pk, job, type_, data in rows]
        (self.term,) = raw.execute(TERM).fetchone()
        self.last_event = self.events[-1].id if self.events else old.last_event

    def same(self, other: Snapshot) -> bool:
        """Tell whether nothing was changed since but what was written down as having happened."""
        return (
            self.jobs == other.jobs
            and self.runs == other.runs
            and self.shards == other.shards
            and self.models == other.models
            and self.artifacts == other.artifacts
            and self.submissions == other.submissions
        )

    def job(self, job_id: str) -> Job | None:
        """Return the job with that public id."""
        return next((job for job in self.jobs.values() if job.job_id == job_id), None)

    def shards_of(self, job: Job) -> list[Shard]:
        """Return a job's shards in order."""
        return sorted(shard for shard in self.shards.values() if shard.job == job.id)

    def runs_of(self, job: Job) -> list[Run]:
        """Return a job's Runs in order."""
        return sorted(run for run in self.runs.values() if run.job == job.id)


class Ground:
    """The one database of this process, with the shipped tables; brought back to its first state for each history."""

    def __init__(self) -> None:
        self.raw = sqlite3.connect(MEMORY, uri=True, isolation_level=None)
        migrate.upgrade(URL)
        arguments = {"isolation_level": None, "cached_statements": STATEMENTS}
        engine = sa.create_engine(URL, poolclass=StaticPool, connect_args=arguments)
        # One connection for all transactions: opening and closing one each time would take longer than the work in it.
        self._connection = engine.connect()
        self.short = Short(self._connection)
        self._driver = self._connection.connection.driver_connection
        self._driver.execute("PRAGMA foreign_keys=ON")
        tables = [table.name for table in metadata.sorted_tables]
        self._empty = [f"DELETE FROM {name}" for name in reversed(tables)]
        self._first = {name: self.raw.execute(f"SELECT * FROM {name}").fetchall() for name in tables}

    def close(self) -> None:
        """Give the connections back."""
        self._connection.close()
        self.raw.close()

    @contextmanager
    def transaction(self, *, write: bool) -> Iterator[Short]:
        """Open one of SQLite's transactions as the catalog does: all of it is committed, or nothing."""
        self._driver.execute("BEGIN IMMEDIATE" if write else "BEGIN DEFERRED")
        try:
            yield self.short
        except BaseException:
            self._driver.execute("ROLLBACK")
            raise
        self._driver.execute("COMMIT")

    def clear(self) -> None:
        """Take everything out that a history left."""
        self.raw.execute("BEGIN IMMEDIATE")
        for statement in self._empty:
            self.raw.execute(statement)
        for name, rows in self._first.items():
            for row in rows:
                self.raw.execute(f"INSERT INTO {name} VALUES ({', '.join('?' * len(row))})", row)
        self.raw.execute("COMMIT")
