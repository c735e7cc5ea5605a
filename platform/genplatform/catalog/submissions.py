"""Submissions: what an idempotency key was used for, and the jobs that one request makes, however many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from genplatform.catalog import append
from genplatform.catalog.rows import JobRow
from genplatform.catalog.tables import insert_new, jobs, needs, submissions


@dataclass(frozen=True)
class Submission:
    """What an idempotency key was used for."""

    id: int
    key: str
    body_digest: str
    count: int
    created_at: float


class IdTaken(Exception):
    """A public id that was drawn for a new job is another's already; draw again."""


_find = sa.select(submissions).where(
    submissions.c.tenant_id == sa.bindparam("of"), submissions.c.key == sa.bindparam("named")
)


@cache
def _add(dialect: str) -> Any:
    return insert_new(dialect, submissions).returning(submissions.c.id)


class Submissions:
    """The submissions of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    def find(self, tenant: str, key: str) -> Submission | None:
        """Return what was submitted under this idempotency key."""
        row = self._db.execute(_find, {"of": tenant, "named": key}).first()
        if row is None:
            return None
        return Submission(row.id, row.key, row.body_digest, row._mapping["count"], row.created_at)

    def add(self, tenant: str, key: str, body_digest: str, count: int, now: float) -> int | None:
        """Record a submission of `count` jobs; returns its inside key, None when another one has the key.

        One that uses the key at the same time is waited for.
        """
        values = {"tenant_id": tenant, "key": key, "body_digest": body_digest, "count": count, "created_at": now}
        row = self._db.execute(_add(self._db.dialect.name), values).first()
        return None if row is None else int(row.id)

    def add_jobs(self, columns: Sequence[str], rows: Iterable[append.Row], count: int) -> Sequence[int]:
        """Add `count` jobs, given as rows of these columns with JSON as text; returns their inside keys in order.

        Raises IdTaken when one of their public ids is not new.
        """
        try:
            if count == 1:
                return [append.add_one(self._db, jobs, columns, row) for row in rows]
            keys = append.new_keys(self._db, jobs, count)
            with_keys = ((key, *row) for key, row in zip(keys, rows, strict=True))
            append.add_many(self._db, jobs, ("id", *columns), with_keys)
        except sa.exc.IntegrityError as error:
            raise IdTaken from error
        return keys

    @contextmanager
    def stream_jobs(self, columns: Sequence[str]) -> Iterator[Callable[[append.Row], None]]:
        """Give what sends one job's row; nothing else may be asked of this transaction until the block ends.

        Raises IdTaken when one of their public ids is not new.
        """
        try:
            with append.stream(self._db, jobs, columns) as send:
                yield send
        except sa.exc.IntegrityError as error:
            raise IdTaken from error

    def keys(self, submission_pk: int) -> list[int]:
        """Return the inside keys of a submission's jobs, in their order."""
        query = sa.select(jobs.c.id).where(jobs.c.submission_pk == submission_pk).order_by(jobs.c.id)
        return list(self._db.execute(query).scalars())

    def counted(self, submission_pk: int, count: int) -> None:
        """Record how many jobs a submission has."""
        self._db.execute(sa.update(submissions).where(submissions.c.id == submission_pk).values(count=count))

    def add_needs(self, tenant: str, pairs: Iterable[tuple[int, int]]) -> None:
        """Record which jobs wait for which, as pairs of the inside keys of the one and of the other."""
        rows = ((tenant, job_pk, needs_pk) for job_pk, needs_pk in pairs)
        append.add_many(self._db, needs, ("tenant_id", "job_pk", "needs_pk"), rows)

    def jobs(self, submission_pk: int, *, after: int = 0, limit: int = 1000) -> list[JobRow]:
        """Return jobs of a submission in their order, from behind an inside key."""
        query = sa.select(jobs).where(jobs.c.submission_pk == submission_pk, jobs.c.id > after)
        return [JobRow.of(r) for r in self._db.execute(query.order_by(jobs.c.id).limit(limit))]

    def states(self, submission_pk: int) -> dict[str, int]:
        """Return how many jobs of a submission stand in each state."""
        query = sa.select(jobs.c.state, sa.func.count()).where(jobs.c.submission_pk == submission_pk)
        return {row[0]: row[1] for row in self._db.execute(query.group_by(jobs.c.state).order_by(jobs.c.state))}
