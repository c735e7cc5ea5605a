"""What was found when model versions were judged."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def text(length: int) -> sa.types.TypeEngine[str]:
    """Text that sorts by code point, whatever language the server speaks."""
    return sa.String(length).with_variant(postgresql.VARCHAR(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "evaluations",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("tenant_id", text(64), nullable=False),
        sa.Column("model_version_id", KEY, nullable=False),
        sa.Column("job_id", text(16), nullable=False),
        sa.Column("found", JSON, nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["model_version_id"], ["model_versions.id"], name="fk_evaluations_model_version_id"),
        sa.PrimaryKeyConstraint("id", name="pk_evaluations"),
        sa.UniqueConstraint("tenant_id", "job_id", name="uq_evaluations_tenant_id_job_id"),
    )
    op.create_index("ix_evaluations_model_version_id_id", "evaluations", ["model_version_id", "id"])
