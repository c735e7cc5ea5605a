"""The first tables, the dispatcher's empty lease, and the built-in model noise@1."""

from __future__ import annotations

import hashlib
import json
import time

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def text(length: int) -> sa.types.TypeEngine[str]:
    """Text that sorts by code point, whatever language the server speaks: ids are found by range."""
    return sa.String(length).with_variant(postgresql.VARCHAR(length, collation="C"), "postgresql")


NOISE = {"height": 8, "width": 8, "channels": 1}
NOISE_TILE = 64


def upgrade() -> None:
    make_tables()
    op.bulk_insert(
        sa.table("leaders", *(sa.column(n) for n in ("name", "holder", "term", "expires_at")), sa.column("data", JSON)),
        [{"name": "dispatcher", "holder": "", "term": 0, "expires_at": 0.0, "data": {}}],
    )
    add_noise()


def add_noise() -> None:
    """Publish noise@1: uniform noise, no weights, for trying, testing and measuring."""
    identity = json.dumps({"config": NOISE, "recipe": "noise", "weights": None}, sort_keys=True, separators=(",", ":"))
    models = sa.table("models", *(sa.column(n) for n in ("id", "tenant_id", "name")))
    versions = sa.table(
        "model_versions",
        *(sa.column(n) for n in ("tenant_id", "model_pk", "version", "recipe", "modality", "tile", "digest", "size")),
        *(sa.column(n) for n in ("code_version", "created_at")),
        *(sa.column(n, JSON) for n in ("config", "metrics", "card")),
    )
    op.bulk_insert(models, [{"tenant_id": "default", "name": "noise"}])
    noise = {
        "tenant_id": "default",
        "version": 1,
        "recipe": "noise",
        "modality": "image",
        "tile": NOISE_TILE,
        "digest": hashlib.sha256(identity.encode()).hexdigest(),
        "size": 0,
        "code_version": "builtin",
        "created_at": time.time(),
        "config": NOISE,
        "metrics": {},
        "card": {"recipe": "noise", "modality": "image", "config": NOISE, "tile": NOISE_TILE},
    }
    model_pk = op.get_bind().execute(sa.select(models.c.id).where(models.c.name == "noise")).scalar_one()
    op.bulk_insert(versions, [noise | {"model_pk": model_pk}])


def make_tables() -> None:
    """Create every table."""
    op.create_table(
        "leaders",
        sa.Column("name", text(64), nullable=False),
        sa.Column("holder", text(255), nullable=False),
        sa.Column("term", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("data", JSON, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leaders")),
    )
    op.create_table(
        "models",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("tenant_id", text(64), nullable=False),
        sa.Column("name", text(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_models_tenant_id_name")),
    )
    op.create_table(
        "submissions",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("tenant_id", text(64), nullable=False),
        sa.Column("key", text(255), nullable=False),
        sa.Column("body_digest", text(64), nullable=False),
        sa.Column("job_ids", JSON, nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_submissions")),
        sa.UniqueConstraint("tenant_id", "key", name=op.f("uq_submissions_tenant_id_key")),
    )
    op.create_table(
        "model_versions",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("tenant_id", text(64), nullable=False),
        sa.Column("model_pk", KEY, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("recipe", text(64), nullable=False),
        sa.Column("modality", text(64), nullable=False),
        sa.Column("config", JSON, nullable=False),
        sa.Column("tile", sa.Integer(), nullable=False),
        sa.Column("job_id", text(16), nullable=True),
        sa.Column("parent_pk", KEY, nullable=True),
        sa.Column("digest", text(64), nullable=False),
        sa.Column("key", text(1024), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("data_digest", text(64), nullable=True),
        sa.Column("code_version", text(64), nullable=False),
        sa.Column("metrics", JSON, nullable=False),
        sa.Column("card", JSON, nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["model_pk"], ["models.id"], name=op.f("fk_model_versions_model_pk")),
        sa.ForeignKeyConstraint(["parent_pk"], ["model_versions.id"], name=op.f("fk_model_versions_parent_pk")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_versions")),
        sa.UniqueConstraint("model_pk", "version", name=op.f("uq_model_versions_model_pk_version")),
    )
    op.create_table(
        "endpoints",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("tenant_id", text(64), nullable=False),
        sa.Column("name", text(64), nullable=False),
        sa.Column("model_version_id", KEY, nullable=False),
        sa.Column("min_replicas", sa.Integer(), nullable=False),
        sa.Column("max_replicas", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("state", text(64), nullable=False),
        sa.Column("reason_code", text(64), nullable=True),
        sa.Column("reason_message", sa.Text(), nullable=True),
        sa.Column("ready", sa.Integer(), nullable=False),
        sa.Column("url", text(1024), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("confirmed_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_versions.id"], name=op.f("fk_endpoints_model_version_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_endpoints")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_endpoints_tenant_id_name")),
    )
    op.create_table(
        "jobs",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("tenant_id", text(64), nullable=False),
        sa.Column("job_id", text(16), nullable=False),
        sa.Column("name", text(64), nullable=False),
        sa.Column("kind", text(64), nullable=False),
        sa.Column("queue", text(64), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("labels", JSON, nullable=False),
        sa.Column("spec", JSON, nullable=False),
        sa.Column("state", text(64), nullable=False),
        sa.Column("reason_code", text(64), nullable=True),
        sa.Column("reason_message", sa.Text(), nullable=True),
        sa.Column("run_at", sa.Double(), nullable=True),
        sa.Column("open_needs", sa.Integer(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("pool", text(64), nullable=True),
        sa.Column("workers", sa.Integer(), nullable=False),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("unit", text(64), nullable=False),
        sa.Column("rate", sa.Double(), nullable=True),
        sa.Column("model_version_id", KEY, nullable=True),
        sa.Column("error_code", text(64), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("error_hint", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=True),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["model_version_id"], ["model_versions.id"], name=op.f("fk_jobs_model_version_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sa.UniqueConstraint("tenant_id", "job_id", name=op.f("uq_jobs_tenant_id_job_id")),
    )
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.create_index("ix_jobs_state_id", ["state", "id"], unique=False)
        batch_op.create_index("ix_jobs_tenant_id_name_id", ["tenant_id", "name", "id"], unique=False)

    op.create_table(
        "artifacts",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("tenant_id", text(64), nullable=False),
        sa.Column("job_pk", KEY, nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("kind", text(64), nullable=False),
        sa.Column("key", text(1024), nullable=False),
        sa.Column("sha256", text(64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["job_pk"], ["jobs.id"], name=op.f("fk_artifacts_job_pk")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artifacts")),
    )
    with op.batch_alter_table("artifacts", schema=None) as batch_op:
        batch_op.create_index("ix_artifacts_job_pk_kind_id", ["job_pk", "kind", "id"], unique=False)

    op.create_table(
        "events",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("tenant_id", text(64), nullable=False),
        sa.Column("job_pk", KEY, nullable=False),
        sa.Column("time", sa.Double(), nullable=False),
        sa.Column("type", text(64), nullable=False),
        sa.Column("data", JSON, nullable=False),
        sa.ForeignKeyConstraint(["job_pk"], ["jobs.id"], name=op.f("fk_events_job_pk")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.create_index("ix_events_job_pk_id", ["job_pk", "id"], unique=False)

    op.create_table(
        "logs",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("tenant_id", text(64), nullable=False),
        sa.Column("job_pk", KEY, nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.Double(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job_pk"], ["jobs.id"], name=op.f("fk_logs_job_pk")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_logs")),
        sa.UniqueConstraint("job_pk", "run", "seq", name=op.f("uq_logs_job_pk_run_seq")),
    )
    op.create_table(
        "needs",
        sa.Column("job_pk", KEY, nullable=False),
        sa.Column("needs_pk", KEY, nullable=False),
        sa.Column("tenant_id", text(64), nullable=False),
        sa.ForeignKeyConstraint(["job_pk"], ["jobs.id"], name=op.f("fk_needs_job_pk")),
        sa.ForeignKeyConstraint(["needs_pk"], ["jobs.id"], name=op.f("fk_needs_needs_pk")),
        sa.PrimaryKeyConstraint("job_pk", "needs_pk", name=op.f("pk_needs")),
    )
    with op.batch_alter_table("needs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_needs_needs_pk"), ["needs_pk"], unique=False)

    op.create_table(
        "runs",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("tenant_id", text(64), nullable=False),
        sa.Column("job_pk", KEY, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", text(64), nullable=False),
        sa.Column("cause", text(64), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("node", text(255), nullable=True),
        sa.Column("worker", text(255), nullable=True),
        sa.Column("term", sa.BigInteger(), nullable=False),
        sa.Column("opened_at", sa.Double(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=True),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["job_pk"], ["jobs.id"], name=op.f("fk_runs_job_pk")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
        sa.UniqueConstraint("job_pk", "number", name=op.f("uq_runs_job_pk_number")),
    )
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.create_index("ix_runs_state", ["state"], unique=False)

    op.create_table(
        "shards",
        sa.Column("job_pk", KEY, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("tenant_id", text(64), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("state", text(64), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("claim", sa.Integer(), nullable=False),
        sa.Column("worker", text(255), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("folder", text(255), nullable=True),
        sa.Column("failed_items", sa.Integer(), nullable=False),
        sa.Column("manifest_sha256", text(64), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("published_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["job_pk"], ["jobs.id"], name=op.f("fk_shards_job_pk")),
        sa.PrimaryKeyConstraint("job_pk", "number", name=op.f("pk_shards")),
    )
    with op.batch_alter_table("shards", schema=None) as batch_op:
        batch_op.create_index("ix_shards_job_pk_state", ["job_pk", "state"], unique=False)
