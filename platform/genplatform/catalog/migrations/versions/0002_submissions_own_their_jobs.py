"""A submission owns its jobs; jobs have deadlines, pauses and retries; the record knows which one it is."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
BATCH = 500

jobs = sa.table("jobs", *(sa.column(n) for n in ("id", "tenant_id", "job_id", "submission_pk")))
submissions = sa.table("submissions", *(sa.column(n) for n in ("id", "tenant_id", "count")), sa.column("job_ids", JSON))


def text(length: int) -> sa.types.TypeEngine[str]:
    return sa.String(length).with_variant(postgresql.VARCHAR(length, collation="C"), "postgresql")


def upgrade() -> None:
    add_columns()
    give_jobs_to_their_submissions()
    op.drop_column("submissions", "job_ids")
    add_indexes()
    make_identity()


def add_columns() -> None:
    postgres = op.get_bind().dialect.name == "postgresql"
    submission = sa.Column("submission_pk", KEY, sa.ForeignKey("submissions.id"), nullable=True)
    # SQLite adds a column with its reference or not at all; PostgreSQL gives the constraint its name.
    op.add_column("jobs", submission if not postgres else sa.Column("submission_pk", KEY), inline_references=True)
    if postgres:
        op.create_foreign_key("fk_jobs_submission_pk", "jobs", "submissions", ["submission_pk"], ["id"])
    op.add_column("jobs", sa.Column("wish", text(64), nullable=True))
    op.add_column("jobs", sa.Column("deadline_at", sa.Double(), nullable=True))
    op.add_column("jobs", sa.Column("progressed_at", sa.Double(), nullable=True))
    op.add_column("jobs", sa.Column("retry_of", text(16), nullable=True))
    op.add_column("submissions", sa.Column("count", sa.Integer(), nullable=False, server_default="0"))


def give_jobs_to_their_submissions() -> None:
    """Write what each submission listed into its jobs, and how many they are."""
    db = op.get_bind()
    mine = sa.update(jobs).where(jobs.c.tenant_id == sa.bindparam("of_tenant"), jobs.c.job_id == sa.bindparam("of_job"))
    counted = sa.update(submissions).where(submissions.c.id == sa.bindparam("of_submission"))
    for page in _pages(db):
        owned = [
            {"of_tenant": row.tenant_id, "of_job": job_id, "owner": row.id} for row in page for job_id in ids_of(row)
        ]
        if owned:
            db.execute(mine.values(submission_pk=sa.bindparam("owner")), owned)
        db.execute(
            counted.values(count=sa.bindparam("number")),
            [{"of_submission": row.id, "number": len(ids_of(row))} for row in page],
        )


def ids_of(row: sa.Row[tuple[object, ...]]) -> list[str]:
    return json.loads(row.job_ids) if isinstance(row.job_ids, str) else list(row.job_ids)


def _pages(db: sa.Connection) -> Iterator[list[sa.Row[tuple[object, ...]]]]:
    last = 0
    while True:
        query = sa.select(submissions).where(submissions.c.id > last).order_by(submissions.c.id).limit(BATCH)
        page = list(db.execute(query))
        if not page:
            return
        yield page
        last = page[-1].id


def add_indexes() -> None:
    op.create_index("ix_jobs_submission_pk_id", "jobs", ["submission_pk", "id"])
    op.create_index("ix_jobs_run_at", "jobs", ["run_at"])
    op.create_index("ix_jobs_deadline_at", "jobs", ["deadline_at"])
    op.create_index("ix_jobs_finished_at", "jobs", ["finished_at"])
    op.create_index("ix_runs_finished_at", "runs", ["finished_at"])


def make_identity() -> None:
    """Make the row that tells this record from a copy of it that was restored elsewhere."""
    op.create_table(
        "identity",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("incarnation", text(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity")),
    )
    identity = sa.table("identity", sa.column("id"), sa.column("incarnation"))
    op.bulk_insert(identity, [{"id": 1, "incarnation": secrets.token_hex(16)}])
