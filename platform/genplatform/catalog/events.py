"""Events and log lines of Jobs: appended in batches, read in pages."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from genplatform.catalog import append
from genplatform.catalog.rows import EventRow, JobRow, LogRow
from genplatform.catalog.tables import events, insert_new, jobs, logs
from genplatform.domain.log_lines import COUNTS, LineNumber

_add = sa.insert(events)


# A line's place among those of its Run, whoever printed it.
_count = logs.c.seq % COUNTS


class Events:
    """The events and log lines of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    def add(self, tenant: str, job_pk: int, time: float, type_: str, data: dict[str, Any]) -> None:
        """Append one event."""
        self.add_many([{"tenant_id": tenant, "job_pk": job_pk, "time": time, "type": type_, "data": data}])

    def add_each(self, type_: str, time: float, said: Iterable[tuple[JobRow, dict[str, Any]]]) -> None:
        """Append an event of the same type to several jobs, each with its own data."""
        common = {"time": time, "type": type_}
        self.add_many([common | {"tenant_id": job.tenant_id, "job_pk": job.id, "data": data} for job, data in said])

    def add_many(self, rows: Sequence[dict[str, Any]]) -> None:
        """Append events, given as rows."""
        if rows:
            self._in_turn(rows)
            self._db.execute(_add, list(rows))

    def add_first(self, rows: Iterable[append.Row], count: int) -> None:
        """Append `count` events of jobs that this transaction adds, so that nobody else can know of them.

        Rows are (tenant, inside key of the job, time, type, data as JSON text).
        """
        columns = ("tenant_id", "job_pk", "time", "type", "data")
        if count == 1:
            append.add_one(self._db, events, columns, next(iter(rows)))
        else:
            append.add_many(self._db, events, columns, rows)

    def add_submitted(self, submission_pk: int) -> None:
        """Append the first event of each job of a submission that this transaction adds, from the jobs themselves."""
        state = sa.func.json_object("state", jobs.c.state)
        if self._db.dialect.name == "postgresql":
            state = sa.func.jsonb_build_object("state", jobs.c.state)
        columns = [jobs.c.tenant_id, jobs.c.id, jobs.c.created_at, sa.literal("submitted"), state]
        made = sa.select(*columns).where(jobs.c.submission_pk == submission_pk).order_by(jobs.c.id)
        self._db.execute(sa.insert(events).from_select(["tenant_id", "job_pk", "time", "type", "data"], made))

    def page(self, job_pk: int, *, after: int, limit: int, types: Collection[str] = ()) -> list[EventRow]:
        """Return events of a job, oldest first, after an inside key."""
        query = sa.select(events).where(events.c.job_pk == job_pk, events.c.id > after)
        if types:
            query = query.where(events.c.type.in_(list(types)))
        return [EventRow.of(r) for r in self._db.execute(query.order_by(events.c.id).limit(limit))]

    def add_logs(self, rows: Sequence[dict[str, Any]]) -> None:
        """Append log lines; a line that is there already (same run and number) is left as it is."""
        if rows:
            self._in_turn(rows)
            self._db.execute(insert_new(self._db.dialect.name, logs), list(rows))

    def cut_logs(self, tenant: str, job_pk: int, run: int, first: int, last: int, now: float) -> None:
        """Take away a Run's log lines behind its `first` ones, up to the `last`-th; a line in their place says so."""
        mine = sa.and_(logs.c.job_pk == job_pk, logs.c.run == run)
        # In the place of the first line that goes, so that it stands between what stays.
        said = LineNumber(first + 1)
        text = f"[{last - first:,} lines are left out here: the first {first:,} and the last of a run are kept]"
        place = sa.select(logs.c.id).where(mine, _count == said.nth).limit(1).scalar_subquery()
        marked = sa.update(logs).where(logs.c.id == place).values(seq=said.packed(), text=text)
        if not self._db.execute(marked).rowcount:
            row = {"tenant_id": tenant, "job_pk": job_pk, "run": run, "seq": said.packed(), "time": now, "text": text}
            self._db.execute(insert_new(self._db.dialect.name, logs), [row])
        self._db.execute(sa.delete(logs).where(mine, _count > said.nth, _count <= last))

    def _in_turn(self, rows: Sequence[dict[str, Any]]) -> None:
        """Let nobody else append to these jobs until this transaction is over.

        PostgreSQL gives an id when a row is added, and shows the row at the commit: a reader
        that goes on after the last id it saw would miss a row that was slower than the next.
        """
        if self._db.dialect.name == "postgresql":
            pks = {row["job_pk"] for row in rows}
            query = sa.select(jobs.c.id).where(jobs.c.id.in_(pks)).order_by(jobs.c.id)
            self._db.execute(query.with_for_update(key_share=True))

    def log_page(
        self,
        job_pk: int,
        *,
        run: int | None,
        after: int,
        since: float | None,
        tail: int | None,
        limit: int,
        search: str | None = None,
    ) -> list[LogRow]:
        """Return log lines of a job, oldest first: those with `search` in them, and only the `tail` newest ones."""
        query = sa.select(logs).where(logs.c.job_pk == job_pk, logs.c.id > after)
        if run is not None:
            query = query.where(logs.c.run == run)
        if since is not None:
            query = query.where(logs.c.time >= since)
        if search is not None:
            query = query.where(logs.c.text.icontains(search, autoescape=True))
        if tail is None:
            return [LogRow.of(r) for r in self._db.execute(query.order_by(logs.c.id).limit(limit))]
        newest = self._db.execute(query.order_by(logs.c.id.desc()).limit(min(tail, limit)))
        return [LogRow.of(r) for r in newest][::-1]
