"""Indexes by which pages, counts, places in the line and log lines cost the same however long the history is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

IS_QUEUED = "state = 'queued'"
IS_OPEN = "state NOT IN ('succeeded', 'failed', 'cancelled')"


def upgrade() -> None:
    op.drop_index("ix_jobs_state_id", "jobs")
    op.create_index("ix_jobs_state_id_priority", "jobs", ["state", "id", "priority"])
    op.drop_index("ix_jobs_submission_pk_id", "jobs")
    op.create_index("ix_jobs_submission_pk_id_state", "jobs", ["submission_pk", "id", "state"])
    op.create_index("ix_jobs_tenant_id_state_id", "jobs", ["tenant_id", "state", "id"])
    op.create_index("ix_jobs_tenant_id_queue_state_id", "jobs", ["tenant_id", "queue", "state", "id"])
    partial("ix_jobs_queue_state_tenant_id_id_open", ["queue", "state", "tenant_id", "id"], IS_OPEN)
    partial("ix_jobs_tenant_id_priority_id_queued", ["tenant_id", "priority", "id"], IS_QUEUED)
    # Most jobs have none of these times when they are submitted: those need no place there.
    for column in ("run_at", "deadline_at", "finished_at"):
        op.drop_index(f"ix_jobs_{column}", "jobs")
    partial("ix_jobs_state_run_at", ["state", "run_at"], "run_at IS NOT NULL")
    partial("ix_jobs_state_deadline_at", ["state", "deadline_at"], "deadline_at IS NOT NULL")
    partial("ix_jobs_tenant_id_retry_of_id", ["tenant_id", "retry_of", "id"], "retry_of IS NOT NULL")
    partial("ix_jobs_finished_at", ["finished_at"], "finished_at IS NOT NULL")
    op.create_index("ix_logs_job_pk_id", "logs", ["job_pk", "id"])
    keep_statistics_fresh()


def partial(name: str, columns: list[str], where: str) -> None:
    op.create_index(name, "jobs", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def keep_statistics_fresh() -> None:
    """Let PostgreSQL notice soon that what is open has become another share of a long history."""
    if op.get_bind().dialect.name == "postgresql":
        shares = ("autovacuum_analyze_scale_factor", "autovacuum_vacuum_scale_factor")
        for share in (*shares, "autovacuum_vacuum_insert_scale_factor"):
            op.execute(f"ALTER TABLE jobs SET ({share} = 0.01)")
