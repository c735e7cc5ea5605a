"""What is asked of many jobs at once: their rows, locks and moves, each in one statement."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from genplatform.catalog.rows import JobRow
from genplatform.catalog.tables import batches, jobs, needs
from genplatform.domain.keys import JobKey
from genplatform.domain.states import ACTIVE_JOB_STATES, TERMINAL_JOB_STATES, JobState, sources

# Made once: every round of the dispatcher and every word of a pool's worker asks these.
_held = (
    sa.select(jobs)
    .where(jobs.c.tenant_id == sa.bindparam("tenant"), jobs.c.job_id.in_(sa.bindparam("public", expanding=True)))
    .order_by(jobs.c.id)
    .with_for_update()
)
_these = jobs.c.id.in_(sa.bindparam("these", expanding=True))
_several = sa.select(jobs).where(_these)
_lock = sa.select(jobs.c.id).where(_these).order_by(jobs.c.id).with_for_update()
_move_all = (
    sa.update(jobs)
    .where(_these, jobs.c.state.in_(sa.bindparam("allowed", expanding=True)), jobs.c.run == sa.bindparam("of_run"))
    .returning(jobs.c.id)
)
_start_all = (
    sa.update(jobs)
    .where(_these, jobs.c.state == JobState.QUEUED.value)
    .values(state=JobState.STARTING.value, run=jobs.c.run + 1)
    .returning(jobs.c.id)
)
_touch_all = sa.update(jobs).where(_these, jobs.c.state.not_in([s.value for s in TERMINAL_JOB_STATES]))
_needed_of = sa.select(needs.c.needs_pk).where(needs.c.needs_pk.in_(sa.bindparam("these", expanding=True))).distinct()


class ManyJobs:
    """The jobs of one transaction, many at a time."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    def several(self, job_pks: Collection[int]) -> dict[int, JobRow]:
        """Return those of the jobs that exist, by their inside keys."""
        found: dict[int, JobRow] = {}
        for batch in batches(sorted(job_pks)):
            found |= {row.id: JobRow.of(row) for row in self._db.execute(_several, {"these": batch})}
        return found

    def held(self, keys: Collection[JobKey]) -> dict[JobKey, JobRow]:
        """Return those of the jobs that exist, and keep their rows for this transaction, as `lock` does."""
        ids: dict[str, list[str]] = {}
        for key in sorted(set(keys)):
            ids.setdefault(key.tenant, []).append(key.job_id)
        found: dict[JobKey, JobRow] = {}
        for tenant, public in ids.items():
            for batch in batches(public):
                rows = self._db.execute(_held, {"tenant": tenant, "public": batch})
                found |= {row.key: row for row in map(JobRow.of, rows)}
        return found

    def lock(self, job_pks: Collection[int]) -> None:
        """Keep the rows of these jobs for this transaction; the oldest is waited for first, as everybody does."""
        for batch in batches(sorted(job_pks)):
            self._db.execute(_lock, {"these": batch}).all()

    def move_all(self, job_pks: Collection[int], to: JobState, *, run: int, **values: Any) -> set[int]:
        """Move jobs whose current Run has this number, each as `move` does; returns those that were moved."""
        if to not in ACTIVE_JOB_STATES:
            values = {"wish": None} | values
        if to in TERMINAL_JOB_STATES:
            values = {"deadline_at": None} | values
        asked = {"allowed": [s.value for s in sources(to)], "of_run": run, "state": to.value} | values
        moved: set[int] = set()
        for batch in batches(sorted(job_pks)):
            moved |= {row.id for row in self._db.execute(_move_all, asked | {"these": batch})}
        return moved

    def start_all(self, job_pks: Collection[int], **values: Any) -> set[int]:
        """Make the next Run of queued jobs the current one and move them to `starting`; returns those it moved."""
        started: set[int] = set()
        for batch in batches(sorted(job_pks)):
            started |= {row.id for row in self._db.execute(_start_all, values | {"these": batch})}
        return started

    def touch_all(self, job_pks: Collection[int], **values: Any) -> None:
        """Write the same values of jobs that have not ended."""
        for batch in batches(sorted(job_pks)):
            self._db.execute(_touch_all, values | {"these": batch})

    def needed(self, job_pks: Collection[int]) -> list[int]:
        """Return those of the jobs that any job needs, oldest first."""
        found: list[int] = []
        for batch in batches(sorted(job_pks)):
            found += sorted(row.needs_pk for row in self._db.execute(_needed_of, {"these": batch}))
        return found
