"""Laws of the record as a whole: references that lead somewhere, one tenant in a family, one leader, one identity."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from genplatform.catalog.laws.law import JOB, Law, text
from genplatform.catalog.leaders import DISPATCHER
from genplatform.catalog.tables import artifacts, events, identity, jobs, leaders, logs, metadata, needs, runs, shards


def _references() -> Iterator[Law]:
    for table in metadata.sorted_tables:
        for key in sorted(table.foreign_keys, key=lambda k: k.parent.name):
            there = key.column.table.alias("there")
            column = key.parent
            about = sa.literal(f"{table.name}.{column.name} ") + text(column)
            yield Law(
                "reference",
                f"{{found}} rows of {table.name} refer by it to a row of {key.column.table.name} that is not there.",
                sa.select(about.label("about"), sa.func.count().label("found"))
                .outerjoin(there, there.c[key.column.name] == column)
                .where(column.is_not(None), there.c[key.column.name].is_(None))
                .group_by(column),
            )


def _families() -> Iterator[Law]:
    for table in (needs, runs, shards, artifacts, events, logs):
        yield Law(
            "tenant",
            f"It has rows in {table.name} that are of {{other}}.",
            sa.select(JOB, table.c.tenant_id.label("other"))
            .join(table, table.c.job_pk == jobs.c.id)
            .where(table.c.tenant_id != jobs.c.tenant_id)
            .distinct(),
        )


_leads = sa.func.sum(sa.case((leaders.c.name == DISPATCHER, 1), else_=0))

LAWS = (
    *_references(),
    *_families(),
    Law(
        "leader",
        "There are {found} rows of who leads, and one of the dispatcher is wanted.",
        sa.select(sa.literal("leaders").label("about"), sa.func.count().label("found"))
        .select_from(leaders)
        .having(sa.or_(sa.func.coalesce(_leads, 0) != 1, sa.func.coalesce(sa.func.min(leaders.c.term), -1) < 0)),
    ),
    Law(
        "identity",
        "There are {found} rows of which record this is, and one with a mark is wanted.",
        sa.select(sa.literal("identity").label("about"), sa.func.count().label("found"))
        .select_from(identity)
        .having(
            sa.or_(
                sa.func.count() != 1,
                sa.func.coalesce(sa.func.min(sa.func.length(identity.c.incarnation)), 0) < 16,
            )
        ),
    ),
)
