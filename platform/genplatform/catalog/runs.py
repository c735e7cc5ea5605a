"""Runs: the numbered tries of a Job."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from genplatform.catalog.rows import RunRow
from genplatform.catalog.tables import batches, events, jobs, runs
from genplatform.domain.retry import Cause
from genplatform.domain.states import RUN_TRANSITIONS, TERMINAL_RUN_STATES, JobState, RunState

# Made once: every round of the dispatcher and most words of nodes ask these.
_add = sa.insert(runs)
_one = sa.select(runs).where(runs.c.job_pk == sa.bindparam("of"), runs.c.number == sa.bindparam("which"))
_move = sa.update(runs).where(
    runs.c.job_pk == sa.bindparam("of"),
    runs.c.number == sa.bindparam("which"),
    runs.c.state.in_(sa.bindparam("allowed", expanding=True)),
)
_move_all = (
    sa.update(runs)
    .where(
        runs.c.job_pk.in_(sa.bindparam("job_pks", expanding=True)),
        runs.c.number == sa.bindparam("which"),
        runs.c.state.in_(sa.bindparam("allowed", expanding=True)),
    )
    .returning(runs.c.job_pk)
)
_of_jobs = (
    sa.select(runs)
    .where(runs.c.job_pk.in_(sa.bindparam("job_pks", expanding=True)))
    .order_by(runs.c.job_pk, runs.c.number)
)
_started = sa.select(runs.c.job_pk, runs.c.number, runs.c.started_at).where(
    runs.c.job_pk.in_(sa.bindparam("job_pks", expanding=True)),
    runs.c.started_at.is_not(None),
    runs.c.finished_at.is_(None),
)
_ended_by_cause = (
    sa.select(runs.c.cause, sa.func.count())
    .where(
        runs.c.job_pk == sa.bindparam("of"),
        runs.c.cause.is_not(None),
        runs.c.state.in_([s.value for s in TERMINAL_RUN_STATES]),
    )
    .group_by(runs.c.cause)
)


def _sources(to: RunState) -> list[str]:
    return [s.value for s, out in RUN_TRANSITIONS.items() if to in out]


@cache
def _ended_since(worker: str) -> sa.Select[Any]:
    return (
        sa.select(runs)
        .where(runs.c.finished_at > sa.bindparam("moment"), runs.c.worker.startswith(worker, autoescape=True))
        .order_by(runs.c.finished_at.desc())
        .limit(sa.bindparam("most", type_=sa.Integer))
    )


class Runs:
    """The runs of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    def open(self, tenant: str, job_pk: int, number: int, term: int, now: float) -> None:
        """Add a Run; the unique (job, number) refuses a second one of that number."""
        self.open_all([(tenant, job_pk, number)], term, now)

    def open_all(self, several: Sequence[tuple[str, int, int]], term: int, now: float) -> None:
        """Add Runs, each given by tenant, inside key of the job, and number."""
        common = {"state": RunState.STARTING.value, "term": term, "opened_at": now}
        rows = [{"tenant_id": tenant, "job_pk": pk, "number": number} | common for tenant, pk, number in several]
        if rows:
            self._db.execute(_add, rows)

    def move(self, job_pk: int, number: int, to: RunState, **values: Any) -> bool:
        """Move a Run into a state if its transition table allows it; False when nothing was changed."""
        asked = {"of": job_pk, "which": number, "allowed": _sources(to), "state": to.value}
        return self._db.execute(_move, asked | values).rowcount == 1

    def move_all(self, job_pks: Collection[int], number: int, to: RunState, **values: Any) -> set[int]:
        """Move the Runs of this number of several jobs, each as `move` does; returns the jobs whose Run was moved."""
        asked = {"which": number, "allowed": _sources(to), "state": to.value} | values
        moved: set[int] = set()
        for some in batches(sorted(job_pks)):
            moved |= {row.job_pk for row in self._db.execute(_move_all, asked | {"job_pks": list(some)})}
        return moved

    def get(self, job_pk: int, number: int) -> RunRow | None:
        """Return one Run."""
        row = self._db.execute(_one, {"of": job_pk, "which": number}).first()
        return None if row is None else RunRow.of(row)

    def of_jobs(self, job_pks: Sequence[int]) -> dict[int, list[RunRow]]:
        """Return the Runs of each of these jobs, in order of their numbers."""
        found: dict[int, list[RunRow]] = defaultdict(list)
        for row in self._db.execute(_of_jobs, {"job_pks": list(job_pks)}):
            found[row.job_pk].append(RunRow.of(row))
        return found

    def started(self, numbers: Mapping[int, int]) -> dict[int, float]:
        """Return, a job's inside key, when its open Run of this number began; nothing for one that did not yet."""
        found: dict[int, float] = {}
        for some in batches(list(numbers)):
            for job_pk, number, at in self._db.execute(_started, {"job_pks": list(some)}):
                if number == numbers[job_pk]:
                    found[job_pk] = at
        return found

    def ended_since(self, moment: float, limit: int, *, worker: str) -> list[RunRow]:
        """Return the Runs of workers whose names start so that ended after `moment`: the newest, newest first."""
        rows = self._db.execute(_ended_since(worker), {"moment": moment, "most": limit})
        return [RunRow.of(r) for r in rows]

    def ended_by_cause(self, job_pk: int) -> dict[Cause, int]:
        """Count a job's ended Runs by cause."""
        known = {c.value for c in Cause}
        return {Cause(r[0]): r[1] for r in self._db.execute(_ended_by_cause, {"of": job_pk}) if r[0] in known}

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
