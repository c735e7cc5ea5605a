"""Jobs and their needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from genplatform.catalog.many_jobs import ManyJobs
from genplatform.catalog.rows import EndedRow, JobRow, Standing
from genplatform.catalog.tables import IS_OPEN, batches, jobs, needs
from genplatform.domain.states import ACTIVE_JOB_STATES, TERMINAL_JOB_STATES, JobState, sources
from genplatform.errors import NotFound

# SQLite puts at most 500 queries together.
NAMES_AT_ONCE = 100

# Made once: every round of the dispatcher and every word of a node asks these, and to put one together takes
# SQLAlchemy longer than SQLite to answer it.
_by_id = sa.select(jobs).where(jobs.c.tenant_id == sa.bindparam("tenant"), jobs.c.job_id == sa.bindparam("public"))
_by_id_held = _by_id.with_for_update()
_by_key = sa.select(jobs).where(jobs.c.id == sa.bindparam("job_pk"))
_needed = (
    sa.select(jobs)
    .join(needs, needs.c.needs_pk == jobs.c.id)
    .where(needs.c.job_pk == sa.bindparam("of"))
    .order_by(jobs.c.id)
)
_dependents = (
    sa.select(jobs)
    .join(needs, needs.c.job_pk == jobs.c.id)
    .where(needs.c.needs_pk == sa.bindparam("of"))
    .order_by(jobs.c.id)
)
_in_states = (
    sa.select(jobs)
    .where(jobs.c.state.in_(sa.bindparam("states", expanding=True)), jobs.c.id > sa.bindparam("after"))
    .order_by(jobs.c.id)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
_ended = (
    sa.select(*(jobs.c[name] for name in EndedRow.names()))
    .where(
        jobs.c.finished_at >= sa.bindparam("at"),
        jobs.c.finished_at <= sa.bindparam("until"),
        (jobs.c.finished_at > sa.bindparam("at")) | (jobs.c.id > sa.bindparam("behind")),
    )
    .order_by(jobs.c.finished_at, jobs.c.id)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
# Each a stretch of one index; put together with OR they would be looked for among all that waits.
_due, _too_late = (
    sa.select(jobs)
    .where(jobs.c.state == JobState.WAITING.value, come)
    .order_by(jobs.c.run_at, jobs.c.id)
    .limit(sa.bindparam("most", type_=sa.Integer))
    for come in (jobs.c.run_at <= sa.bindparam("moment"), jobs.c.run_at > sa.bindparam("moment"))
)
_overdue = (
    sa.select(jobs)
    .where(jobs.c.deadline_at <= sa.bindparam("now"), jobs.c.state.in_(sa.bindparam("states", expanding=True)))
    .order_by(jobs.c.deadline_at)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
_of_run = jobs.c.run == sa.bindparam("of_run")
_move = sa.update(jobs).where(
    jobs.c.id == sa.bindparam("of"), jobs.c.state.in_(sa.bindparam("allowed", expanding=True))
)
_touch = sa.update(jobs).where(
    jobs.c.id == sa.bindparam("of"), jobs.c.state.not_in([s.value for s in TERMINAL_JOB_STATES])
)
_move_run, _touch_run = _move.where(_of_run), _touch.where(_of_run)
# One look at an index that holds what is open and nothing else, in the index's own order.
_of_open = sa.select(jobs.c.queue, jobs.c.state, sa.func.count().label("number"))
_of_open = _of_open.where(IS_OPEN).group_by(jobs.c.queue, jobs.c.state)
_standing = _of_open.add_columns(sa.func.min(jobs.c.id).label("oldest"))
_waiting_for = jobs.c.id.in_(sa.select(needs.c.job_pk).where(needs.c.needs_pk == sa.bindparam("of")))
_held_up = jobs.c.state.in_([JobState.WAITING.value, JobState.PAUSED.value])
# Oldest first, as everybody does: an UPDATE takes the rows in the order of whatever index it comes by.
_hold_waiting = sa.select(jobs.c.id).where(_waiting_for, _held_up).order_by(jobs.c.id).with_for_update()
_count_down = sa.update(jobs).where(_waiting_for, _held_up).values(open_needs=jobs.c.open_needs - 1)
_ready = (
    sa.select(jobs.c.id)
    .where(_waiting_for, jobs.c.state == JobState.WAITING.value, jobs.c.open_needs <= 0)
    .order_by(jobs.c.id)
)


class Jobs(ManyJobs):
    """The jobs of one transaction."""

    def insert(self, values: Mapping[str, Any]) -> int:
        """Add one job; returns its inside key."""
        return int(self._db.execute(sa.insert(jobs).values(**values).returning(jobs.c.id)).scalar_one())

    def add_needs(self, tenant: str, job_pk: int, needs_pks: Collection[int]) -> None:
        """Record which jobs a job waits for."""
        if needs_pks:
            rows = [{"job_pk": job_pk, "needs_pk": pk, "tenant_id": tenant} for pk in needs_pks]
            self._db.execute(sa.insert(needs), rows)

    def needs_of(self, job_pk: int) -> list[JobRow]:
        """Return the jobs this one needs."""
        return [JobRow.of(r) for r in self._db.execute(_needed, {"of": job_pk})]

    def dependents_of(self, job_pk: int) -> list[JobRow]:
        """Return the jobs that need this one."""
        return [JobRow.of(r) for r in self._db.execute(_dependents, {"of": job_pk})]

    def get(self, job_pk: int) -> JobRow:
        """Return the job with that inside key; raises NotFound when it was pruned since it was found."""
        row = self._db.execute(_by_key, {"job_pk": job_pk}).first()
        if row is None:
            raise NotFound("That job has just been pruned.", "`genctl ps -a` lists all jobs.")
        return JobRow.of(row)

    def by_id(self, tenant: str, job_id: str, *, lock: bool = False) -> JobRow | None:
        """Return the job with that public id; `lock` keeps its row for this transaction."""
        row = self._db.execute(_by_id_held if lock else _by_id, {"tenant": tenant, "public": job_id}).first()
        return None if row is None else JobRow.of(row)

    def by_ids(self, tenant: str, job_ids: Sequence[str]) -> list[JobRow]:
        """Return those of the jobs that exist, in order of creation."""
        rows: list[JobRow] = []
        for batch in batches(job_ids):
            query = sa.select(jobs).where(jobs.c.tenant_id == tenant, jobs.c.job_id.in_(batch))
            rows += [JobRow.of(r) for r in self._db.execute(query)]
        return sorted(rows, key=lambda row: row.id)

    def by_name(self, tenant: str, name: str) -> JobRow | None:
        """Return the newest job of that name."""
        # Its key first, from the index alone: by rows, PostgreSQL goes down the history until it meets the name.
        newest = sa.select(sa.func.max(jobs.c.id)).where(jobs.c.tenant_id == tenant, jobs.c.name == name)
        row = self._db.execute(sa.select(jobs).where(jobs.c.id == newest.scalar_subquery())).first()
        return None if row is None else JobRow.of(row)

    def by_names(self, tenant: str, names: Collection[str]) -> dict[str, JobRow]:
        """Return the newest job of each of the names that has one."""
        newest = sa.select(sa.func.max(jobs.c.id)).where(jobs.c.tenant_id == tenant)
        found: dict[str, JobRow] = {}
        for batch in batches(sorted(names), NAMES_AT_ONCE):
            # Each name by itself is one step of an index; grouped, all jobs of these names would be gone through.
            query = sa.select(jobs).where(jobs.c.id.in_(sa.union_all(*(newest.where(jobs.c.name == n) for n in batch))))
            found |= {row.name: JobRow.of(row) for row in self._db.execute(query)}
        return found

    def by_prefix(self, tenant: str, prefix: str, limit: int) -> list[JobRow]:
        """Return jobs whose public id starts so, by range: it is served by the unique index."""
        query = sa.select(jobs).where(
            jobs.c.tenant_id == tenant, jobs.c.job_id >= prefix, jobs.c.job_id < prefix + "\x7f"
        )
        return [JobRow.of(r) for r in self._db.execute(query.order_by(jobs.c.job_id).limit(limit))]

    def newest_retry(self, job: JobRow) -> JobRow | None:
        """Return the newest job that does an ended one again."""
        query = sa.select(jobs).where(jobs.c.tenant_id == job.tenant_id, jobs.c.retry_of == job.job_id)
        row = self._db.execute(query.order_by(jobs.c.id.desc()).limit(1)).first()
        return None if row is None else JobRow.of(row)

    def page(
        self,
        tenant: str,
        *,
        states: Collection[str],
        queue: str | None,
        before: int | None,
        limit: int,
    ) -> list[JobRow]:
        """Return jobs, newest first, `before` an inside key; an empty `states` means all."""
        mine = sa.select(jobs.c.id).where(jobs.c.tenant_id == tenant)
        if queue is not None:
            mine = mine.where(jobs.c.queue == queue)
        if before is not None:
            mine = mine.where(jobs.c.id < before)
        # The newest of each state are the first of a stretch of an index; the page is the newest among these.
        heads = [
            sa.select(mine.where(jobs.c.state == state).order_by(jobs.c.id.desc()).limit(limit).subquery().c.id)
            for state in sorted(states or JobState)
        ]
        newest = sa.union_all(*heads).order_by(sa.desc("id")).limit(limit).subquery()
        query = sa.select(jobs).join(newest, newest.c.id == jobs.c.id)
        return [JobRow.of(r) for r in self._db.execute(query.order_by(jobs.c.id.desc()))]

    def in_states(self, states: Collection[JobState], *, after: int = 0, limit: int = 10_000) -> list[JobRow]:
        """Return every tenant's jobs in these states, oldest first."""
        asked = {"states": [s.value for s in states], "after": after, "most": limit}
        return [JobRow.of(r) for r in self._db.execute(_in_states, asked)]

    def ended(self, after: tuple[float, int], until: float, limit: int) -> list[EndedRow]:
        """Return every tenant's jobs that ended, in the order in which they did.

        From behind one that is given by its end and its inside key, up to a moment.
        """
        at, job_pk = after
        asked = {"at": at, "until": until, "behind": job_pk, "most": limit}
        return [EndedRow.of(r) for r in self._db.execute(_ended, asked)]

    def due(self, now: float, latest: float, limit: int) -> list[JobRow]:
        """Return waiting jobs whose time has come, and those whose time is past the `latest` that makes sense."""
        found: list[JobRow] = []
        for query, moment in ((_due, now), (_too_late, latest)):
            rows = self._db.execute(query, {"moment": moment, "most": limit - len(found)})
            found += [JobRow.of(r) for r in rows]
        return found

    def overdue(self, states: Collection[JobState], now: float, limit: int) -> list[JobRow]:
        """Return every tenant's jobs in these states whose deadline has passed, those first that have been so longest.

        What has ended has no deadline any more, so that its index finds open jobs alone.
        """
        asked = {"now": now, "states": [s.value for s in states], "most": limit}
        return [JobRow.of(r) for r in self._db.execute(_overdue, asked)]

    def move(
        self,
        job_pk: int,
        to: JobState,
        *,
        run: int | None = None,
        new_run: int | None = None,
        only_from: Collection[JobState] | None = None,
        **values: Any,
    ) -> bool:
        """Move a job into a state if the transition table allows it from where it is now.

        With `run`, only while that Run is the current one: this is the fence. `new_run`
        makes another Run the current one. False when nothing was changed. `values` are
        written with it; what was wished of a Run goes when the job has none any more, and
        its deadline when it has ended.
        """
        if to not in ACTIVE_JOB_STATES:
            values = {"wish": None} | values
        if to in TERMINAL_JOB_STATES:
            values = {"deadline_at": None} | values
        allowed = sources(to) if only_from is None else sources(to) & set(only_from)
        asked: dict[str, Any] = {"of": job_pk, "allowed": [s.value for s in allowed]}
        if run is not None:
            asked["of_run"] = run
        if new_run is not None:
            values["run"] = new_run
        query = _move if run is None else _move_run
        return self._db.execute(query, asked | {"state": to.value} | values).rowcount == 1

    def touch(self, job_pk: int, *, run: int | None = None, **values: Any) -> bool:
        """Write values of a job that has not ended; with `run`, only while it is the current one."""
        if run is None:
            return self._db.execute(_touch, {"of": job_pk} | values).rowcount == 1
        return self._db.execute(_touch_run, {"of": job_pk, "of_run": run} | values).rowcount == 1

    def need_met(self, needs_pk: int) -> list[int]:
        """Count one need down for every job that waits for it, also a paused one.

        Returns those with none left that are not paused.
        """
        self._db.execute(_hold_waiting, {"of": needs_pk}).all()
        self._db.execute(_count_down, {"of": needs_pk})
        return [row.id for row in self._db.execute(_ready, {"of": needs_pk})]

    def counts(self) -> dict[str, int]:
        """Return how many jobs stand in each state that is not an end."""
        counts: Counter[str] = Counter()
        for _, state, number in self._db.execute(_of_open):
            counts[state] += number
        return dict(counts)

    def standing(self) -> list[Standing]:
        """Return what stands in each queue and state that is not an end, in one look at an index."""
        rows = self._db.execute(_standing).all()
        since = sa.select(jobs.c.id, jobs.c.created_at).where(jobs.c.id.in_([row.oldest for row in rows]))
        created = {row.id: row.created_at for row in self._db.execute(since)}
        return [Standing(row.queue, row.state, row.number, created[row.oldest]) for row in rows]
