"""Runs: the numbered tries of a Job."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from genplatform.catalog.rows import RunRow
from genplatform.catalog.tables import events, jobs, runs
from genplatform.domain.retry import Cause
from genplatform.domain.states import RUN_TRANSITIONS, TERMINAL_RUN_STATES, JobState, RunState


class Runs:
    """The runs of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    def open(self, tenant: str, job_pk: int, number: int, term: int, now: float) -> None:
        """Add a Run; the unique (job, number) refuses a second one of that number."""
        values = {
            "tenant_id": tenant,
            "job_pk": job_pk,
            "number": number,
            "state": RunState.STARTING.value,
            "term": term,
            "opened_at": now,
        }
        self._db.execute(sa.insert(runs).values(**values))

    def move(self, job_pk: int, number: int, to: RunState, **values: Any) -> bool:
        """Move a Run into a state if its transition table allows it; False when nothing was changed."""
        allowed = [s.value for s, out in RUN_TRANSITIONS.items() if to in out]
        query = sa.update(runs).where(runs.c.job_pk == job_pk, runs.c.number == number, runs.c.state.in_(allowed))
        return self._db.execute(query.values(state=to.value, **values)).rowcount == 1

    def get(self, job_pk: int, number: int) -> RunRow | None:
        """Return one Run."""
        query = sa.select(runs).where(runs.c.job_pk == job_pk, runs.c.number == number)
        row = self._db.execute(query).first()
        return None if row is None else RunRow.of(row)

    def of_jobs(self, job_pks: Sequence[int]) -> dict[int, list[RunRow]]:
        """Return the Runs of each of these jobs, in order of their numbers."""
        found: dict[int, list[RunRow]] = defaultdict(list)
        query = sa.select(runs).where(runs.c.job_pk.in_(list(job_pks))).order_by(runs.c.job_pk, runs.c.number)
        for row in self._db.execute(query):
            found[row.job_pk].append(RunRow.of(row))
        return found

    def ended_since(self, moment: float, limit: int, *, worker: str) -> list[RunRow]:
        """Return the Runs of workers whose names start so that ended after `moment`: the newest, newest first."""
        query = sa.select(runs).where(runs.c.finished_at > moment, runs.c.worker.startswith(worker, autoescape=True))
        return [RunRow.of(r) for r in self._db.execute(query.order_by(runs.c.finished_at.desc()).limit(limit))]

    def ended_by_cause(self, job_pk: int) -> dict[Cause, int]:
        """Count a job's ended Runs by cause."""
        query = sa.select(runs.c.cause, sa.func.count()).where(
            runs.c.job_pk == job_pk,
            runs.c.cause.is_not(None),
            runs.c.state.in_([s.value for s in TERMINAL_RUN_STATES]),
        )
        known = {c.value for c in Cause}
        return {Cause(r[0]): r[1] for r in self._db.execute(query.group_by(runs.c.cause)) if r[0] in known}

    def ended_again(self) -> list[tuple[str, str, dict[str, Any], str, int]]:
        """Return `(tenant, job, spec, cause, count)` of every job of which several Runs ended by one cause.

        Without jobs that were paused: that ends a Run which might have been the last, and it goes on all the same.
        """
        again = (
            sa.select(runs.c.job_pk, runs.c.cause, sa.func.count().label("times"))
            .where(runs.c.cause.is_not(None))
            .group_by(runs.c.job_pk, runs.c.cause)
            .having(sa.func.count() > 1)
            .subquery("again")
        )
        paused = sa.exists().where(events.c.job_pk == jobs.c.id, events.c.type == JobState.PAUSED.value)
        columns = (jobs.c.tenant_id, jobs.c.job_id, jobs.c.spec, again.c.cause, again.c.times)
        query = sa.select(*columns).join(again, again.c.job_pk == jobs.c.id).where(sa.not_(paused))
        return [(r.tenant_id, r.job_id, r.spec, r.cause, r.times) for r in self._db.execute(query)]
