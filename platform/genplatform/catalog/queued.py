"""The queued jobs as a line: read in few words, compared span by span, counted from indexes alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from genplatform.catalog.rows import JobRow, QueuedRow, SpanSum
from genplatform.catalog.tables import IS_QUEUED, jobs
from genplatform.domain.job import Reason
from genplatform.domain.states import JobState

# So many inside keys make a span. One that differs from what its reader holds is read whole.
SPAN = 1024

# As QueuedRow has them.
_COLUMNS: tuple[sa.ColumnElement[Any], ...] = (
    jobs.c.id,
    jobs.c.tenant_id,
    jobs.c.job_id,
    jobs.c.priority,
    jobs.c.reason_code,
    jobs.c.reason_message,
    # Of the spec only what a decision asks for: it is most of a row.
    sa.type_coerce(jobs.c.spec, sa.JSON)["resources"].label("resources"),
)

_place = sa.cast(jobs.c.id % SPAN, sa.Integer)
_span = (jobs.c.id // SPAN).label("span")
_sums = [sa.func.sum(value) for value in (_place, _place * _place, jobs.c.priority * (_place + 1))]
# Made once: every round of the dispatcher asks these.
_spans = sa.select(_span, sa.func.count(), *_sums).where(IS_QUEUED).group_by(_span)
_within = (
    sa.select(*_COLUMNS)
    .where(IS_QUEUED, jobs.c.id >= sa.bindparam("first"), jobs.c.id < sa.bindparam("end"))
    .order_by(jobs.c.id)
)
_by_ids = (
    sa.select(*_COLUMNS, jobs.c.state)
    .where(jobs.c.tenant_id == sa.bindparam("tenant"), jobs.c.job_id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(jobs.c.id)
)


class Queued:
    """The queued jobs of one transaction, of every tenant."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    def spans(self) -> dict[int, SpanSum]:
        """Return, a span with queued jobs in it, what they add up to."""
        return {span: SpanSum(*values) for span, *values in self._db.execute(_spans)}

    def within(self, first: int, last: int) -> list[QueuedRow]:
        """Return the queued jobs of these spans, the last included, oldest first."""
        rows = self._db.execute(_within, {"first": first * SPAN, "end": (last + 1) * SPAN})
        return [QueuedRow(*r) for r in rows]

    def by_ids(self, tenant: str, job_ids: Sequence[str]) -> list[QueuedRow]:
        """Return those of a tenant's jobs that are queued, oldest first."""
        rows = self._db.execute(_by_ids, {"tenant": tenant, "ids": list(job_ids)})
        # The state is looked at here, or SQLite would go through all that is queued.
        return [QueuedRow(*columns) for *columns, state in rows if state == JobState.QUEUED]

    def ahead_of(self, job: JobRow) -> int:
        """Return how many queued jobs of its tenant stand before a queued one."""
        mine = sa.select(sa.func.count()).where(IS_QUEUED, jobs.c.tenant_id == job.tenant_id)
        higher = mine.where(jobs.c.priority > job.priority).scalar_subquery()
        earlier = mine.where(jobs.c.priority == job.priority, jobs.c.id < job.id).scalar_subquery()
        return int(self._db.execute(sa.select(higher + earlier)).scalar_one())

    def note(self, reason: Reason, job_pks: Collection[int]) -> set[int]:
        """Record why jobs that are still queued wait; returns those of them that had it written.

        One whose row somebody else holds is passed over: nobody is waited for here, so nobody waits for another.
        """
        mine = sa.select(jobs.c.id).where(jobs.c.id.in_(job_pks), jobs.c.state == JobState.QUEUED.value)
        free = mine.order_by(jobs.c.id).with_for_update(skip_locked=True).scalar_subquery()
        query = sa.update(jobs).where(jobs.c.id.in_(free)).returning(jobs.c.id)
        values = {"reason_code": reason.code, "reason_message": reason.message}
        return {row.id for row in self._db.execute(query.values(**values))}
