"""The tables of the record. `migrations/` makes them; a test holds the two equal.

`id` is the inside key and orders things by creation; public ids are columns of their own.
Times are seconds since the epoch. `tenant_id` stands in every table and every unique key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from genplatform.catalog.columns import Json, Short, Text

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

T = TypeVar("T")
AT_ONCE = 1000

Key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Word = Short(64)
Digest = Short(64)


def _id() -> sa.Column[int]:
    return sa.Column("id", Key, primary_key=True, autoincrement=True)


def _tenant() -> sa.Column[str]:
    return sa.Column("tenant_id", Word, nullable=False)


def _job() -> sa.Column[int]:
    return sa.Column("job_pk", Key, sa.ForeignKey("jobs.id"), nullable=False)


# A query is served by a partial index when it says the index's own words: these, with nothing bound to them.
IS_QUEUED = sa.text("jobs.state = 'queued'")
IS_OPEN = sa.text("jobs.state NOT IN ('succeeded', 'failed', 'cancelled')")


def _partial(name: str, where: sa.TextClause, *columns: str) -> sa.Index:
    return sa.Index(name, *columns, sqlite_where=where, postgresql_where=where)


jobs = sa.Table(
    "jobs",
    metadata,
    _id(),
    _tenant(),
    sa.Column("job_id", Short(16), nullable=False),
    sa.Column("name", Word, nullable=False),
    sa.Column("kind", Word, nullable=False),
    sa.Column("queue", Word, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("labels", Json, nullable=False),
    sa.Column("spec", Json, nullable=False),
    sa.Column("state", Word, nullable=False),
    sa.Column("reason_code", Word),
    sa.Column("reason_message", Text),
    sa.Column("run_at", sa.Double),  # a waiting job's time to be queued again; null: it waits for needs
    sa.Column("deadline_at", sa.Double),  # when it must have ended; null once it has, or when it need not
    sa.Column("wish", Word),  # what a person asked of its open Run and is not done yet: `pause`
    sa.Column("open_needs", sa.Integer, nullable=False),
    sa.Column("run", sa.Integer, nullable=False),  # the current Run's number, 0 before the first: the fence
    sa.Column("pool", Word),  # the pool of workers its current Run is handed to
    sa.Column("workers", sa.Integer, nullable=False),  # how many the current Run was given
    sa.Column("done", sa.BigInteger, nullable=False),
    sa.Column("total", sa.BigInteger, nullable=False),
    sa.Column("unit", Word, nullable=False),
    sa.Column("rate", sa.Double),
    sa.Column("progressed_at", sa.Double),  # when the current Run last got further, or began
    sa.Column("model_version_id", Key, sa.ForeignKey("model_versions.id")),  # published (train) or used (generate)
    sa.Column("error_code", Word),
    sa.Column("error_message", Text),
    sa.Column("error_hint", Text),
    sa.Column("submission_pk", Key, sa.ForeignKey("submissions.id")),  # the request that made it
    sa.Column("retry_of", Short(16)),  # the public id of the ended job that this one does again
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("started_at", sa.Double),
    sa.Column("finished_at", sa.Double),
    sa.UniqueConstraint("tenant_id", "job_id"),
    sa.Index("ix_jobs_tenant_id_name_id", "tenant_id", "name", "id"),
    sa.Index("ix_jobs_tenant_id_state_id", "tenant_id", "state", "id"),
    sa.Index("ix_jobs_tenant_id_queue_state_id", "tenant_id", "queue", "state", "id"),
    sa.Index("ix_jobs_state_id_priority", "state", "id", "priority"),
    sa.Index("ix_jobs_submission_pk_id_state", "submission_pk", "id", "state"),
    # What is in these is little, however long the history is.
    _partial("ix_jobs_queue_state_tenant_id_id_open", IS_OPEN, "queue", "state", "tenant_id", "id"),
    _partial("ix_jobs_tenant_id_priority_id_queued", IS_QUEUED, "tenant_id", "priority", "id"),
    _partial("ix_jobs_state_run_at", sa.text("run_at IS NOT NULL"), "state", "run_at"),
    _partial("ix_jobs_state_deadline_at", sa.text("deadline_at IS NOT NULL"), "state", "deadline_at"),
    _partial("ix_jobs_tenant_id_retry_of_id", sa.text("retry_of IS NOT NULL"), "tenant_id", "retry_of", "id"),
    _partial("ix_jobs_finished_at", sa.text("finished_at IS NOT NULL"), "finished_at"),
)

submissions = sa.Table(
    "submissions",
    metadata,
    _id(),
    _tenant(),
    sa.Column("key", Short(255), nullable=False),
    sa.Column("body_digest", Digest, nullable=False),
    sa.Column("count", sa.Integer, nullable=False, server_default="0"),  # of its jobs
    sa.Column("created_at", sa.Double, nullable=False),
    sa.UniqueConstraint("tenant_id", "key"),
)

needs = sa.Table(
    "needs",
    metadata,
    sa.Column("job_pk", Key, sa.ForeignKey("jobs.id"), primary_key=True),
    sa.Column("needs_pk", Key, sa.ForeignKey("jobs.id"), primary_key=True, index=True),
    _tenant(),
)

runs = sa.Table(
    "runs",
    metadata,
    _id(),
    _tenant(),
    _job(),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("state", Word, nullable=False),
    sa.Column("cause", Word),
    sa.Column("message", Text),
    sa.Column("node", Short(255)),
    sa.Column("worker", Short(255)),
    sa.Column("term", sa.BigInteger, nullable=False),  # of the dispatcher that opened it
    sa.Column("opened_at", sa.Double, nullable=False),
    sa.Column("started_at", sa.Double),
    sa.Column("finished_at", sa.Double),
    sa.UniqueConstraint("job_pk", "number"),
    sa.Index("ix_runs_state", "state"),
    sa.Index("ix_runs_finished_at", "finished_at"),
)

shards = sa.Table(
    "shards",
    metadata,
    sa.Column("job_pk", Key, sa.ForeignKey("jobs.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    _tenant(),
    sa.Column("start", sa.BigInteger, nullable=False),
    sa.Column("count", sa.Integer, nullable=False),
    sa.Column("state", Word, nullable=False),
    sa.Column("run", sa.Integer, nullable=False),  # of the current claim
    sa.Column("claim", sa.Integer, nullable=False),  # the current claim's number, 0 before the first: the fence
    sa.Column("worker", Short(255)),
    sa.Column("failures", sa.Integer, nullable=False),  # claims that ended in an error or a lost worker
    sa.Column("folder", Short(255)),  # of its files, relative to the job's outputs
    sa.Column("failed_items", sa.Integer, nullable=False),
    sa.Column("manifest_sha256", Digest),
    sa.Column("size", sa.BigInteger),
    sa.Column("published_at", sa.Double),
    sa.Index("ix_shards_job_pk_state", "job_pk", "state"),
)

artifacts = sa.Table(
    "artifacts",
    metadata,
    _id(),
    _tenant(),
    _job(),
    sa.Column("run", sa.Integer, nullable=False),
    sa.Column("kind", Word, nullable=False),
    sa.Column("key", Short(1024), nullable=False),
    sa.Column("sha256", Digest, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("step", sa.BigInteger),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Index("ix_artifacts_job_pk_kind_id", "job_pk", "kind", "id"),
)

models = sa.Table(
    "models",
    metadata,
    _id(),
    _tenant(),
    sa.Column("name", Word, nullable=False),
    sa.UniqueConstraint("tenant_id", "name"),
)

model_versions = sa.Table(
    "model_versions",
    metadata,
    _id(),
    _tenant(),
    sa.Column("model_pk", Key, sa.ForeignKey("models.id"), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("recipe", Word, nullable=False),
    sa.Column("modality", Word, nullable=False),
    sa.Column("config", Json, nullable=False),
    sa.Column("tile", sa.Integer, nullable=False),
    # A published version knows its job's public id; the two tables would otherwise need each other.
    sa.Column("job_id", Short(16)),
    sa.Column("parent_pk", Key, sa.ForeignKey("model_versions.id")),
    sa.Column("digest", Digest, nullable=False),
    sa.Column("key", Short(1024)),  # its folder in the store; null when it has no weights
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("data_digest", Digest),
    sa.Column("code_version", Word, nullable=False),
    sa.Column("metrics", Json, nullable=False),
    sa.Column("card", Json, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.UniqueConstraint("model_pk", "version"),
)

evaluations = sa.Table(
    "evaluations",
    metadata,
    _id(),
    _tenant(),
    sa.Column("model_version_id", Key, sa.ForeignKey("model_versions.id"), nullable=False),
    # As with versions: what was found stays when its job is pruned.
    sa.Column("job_id", Short(16), nullable=False),
    sa.Column("found", Json, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.UniqueConstraint("tenant_id", "job_id"),
    sa.Index("ix_evaluations_model_version_id_id", "model_version_id", "id"),
)

endpoints = sa.Table(
    "endpoints",
    metadata,
    _id(),
    _tenant(),
    sa.Column("name", Word, nullable=False),
    sa.Column("model_version_id", Key, sa.ForeignKey("model_versions.id"), nullable=False),
    sa.Column("min_replicas", sa.Integer, nullable=False),
    sa.Column("max_replicas", sa.Integer, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),  # counts the wishes
    sa.Column("state", Word, nullable=False),
    sa.Column("reason_code", Word),
    sa.Column("reason_message", Text),
    sa.Column("ready", sa.Integer, nullable=False),
    sa.Column("url", Short(1024)),  # where the gateway finds its replicas
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("confirmed_at", sa.Double),  # when the state was last seen to be true
    sa.UniqueConstraint("tenant_id", "name"),
)

events = sa.Table(
    "events",
    metadata,
    _id(),
    _tenant(),
    _job(),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("type", Word, nullable=False),
    sa.Column("data", Json, nullable=False),
    sa.Index("ix_events_job_pk_id", "job_pk", "id"),
)

logs = sa.Table(
    "logs",
    metadata,
    _id(),
    _tenant(),
    _job(),
    sa.Column("run", sa.Integer, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("text", Text, nullable=False),
    sa.UniqueConstraint("job_pk", "run", "seq"),
    sa.Index("ix_logs_job_pk_id", "job_pk", "id"),
)

leaders = sa.Table(
    "leaders",
    metadata,
    sa.Column("name", Word, primary_key=True),
    sa.Column("holder", Short(255), nullable=False),
    sa.Column("term", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.Double, nullable=False),
    sa.Column("data", Json, nullable=False),  # what the leader last saw of the engine, for `status`
)


# One row: which record this is. A restored copy gets another value, so that tokens of the first one open nothing in it.
identity = sa.Table(
    "identity",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("incarnation", Word, nullable=False),
)


def batches(values: Sequence[T], at_once: int = AT_ONCE) -> Iterator[Sequence[T]]:
    """Yield values, so many at a time; by default as many as a statement has room for on every database."""
    for first in range(0, len(values), at_once):
        yield values[first : first + at_once]


def insert_new(dialect: str, table: sa.Table) -> Any:
    """Return an INSERT that leaves a row alone whose unique key is there already."""
    insert: Any = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return insert(table).on_conflict_do_nothing()
