"""Prune the record: ended jobs of long ago go, with all that belongs to them, a few at a time.

A job stays while another one that stays needs it or does it again, whatever became of that one; so
nothing that is open loses what it goes on from. Models stay, and what an endpoint serves. Each
step is a short transaction that looks again before it removes anything: the platform beside it
is not held up, and a job that was needed in the meantime is kept.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from genplatform.catalog import database
from genplatform.catalog.tables import artifacts, events, jobs, logs, needs, runs, shards, submissions
from genplatform.domain.history import MOVES
from genplatform.domain.keys import JobKey
from genplatform.domain.states import TERMINAL_JOB_STATES

JOBS_AT_ONCE = 100
ROWS_AT_ONCE = 2000
# A repeated request with the same key is answered for so long, if only by saying that its jobs are gone.
KEYS_KEPT = 7 * 86_400.0

_ENDED = jobs.c.state.in_(sorted(s.value for s in TERMINAL_JOB_STATES))
_CHILDREN = (runs, shards, artifacts, events, logs)


@dataclass(frozen=True)
class Limits:
    """What is old: jobs that ended before `before`, but for the `keep` that ended last of all."""

    before: float
    keep: int = 0


@dataclass(frozen=True)
class Pruned:
    """What one step removed (or would): the jobs, and how many rows of each table.

    The last step says how many old jobs had to stay, because others need them.
    """

    jobs: tuple[JobKey, ...] = ()
    rows: Counter[str] = field(default_factory=Counter)
    needed: int = 0


def prune(engine: sa.Engine, limits: Limits, now: float, pause: Callable[[], object]) -> Iterator[Pruned]:
    """Remove what is old, step by step; `pause` is called between transactions, to let others write."""
    needed = 0
    for candidates in _pages(engine, limits):
        pause()
        rows = _remove_bulk(engine, limits, candidates, pause)
        with database.transaction(engine, write=True) as connection:
            going, stay = _removable(connection, limits, candidates)
            keys = _remove(connection, going, rows)
        needed += stay
        yield Pruned(keys, rows)
    with database.transaction(engine, write=True) as connection:
        unused = sa.delete(submissions).where(submissions.c["count"] == 0, submissions.c.created_at < now - KEYS_KEPT)
        count = connection.execute(unused).rowcount
    yield Pruned(rows=Counter({submissions.name: count}), needed=needed)


def preview(engine: sa.Engine, limits: Limits) -> Iterator[Pruned]:
    """Yield what `prune` would remove now, step by step; removes nothing."""
    gone: set[int] = set()
    needed = 0
    for candidates in _pages(engine, limits):
        with database.transaction(engine, write=False) as connection:
            found, stay = _without_needed(connection, candidates, gone)
            gone.update(found)
            rows = Counter({table.name: _count(connection, table, found) for table in _CHILDREN})
            keys = _keys(connection, found)
        needed += stay
        yield Pruned(keys, rows)
    yield Pruned(needed=needed)


def _pages(engine: sa.Engine, limits: Limits) -> Iterator[list[int]]:
    """Yield the inside keys of old jobs, newest first: what needs another comes before it."""
    last: int | None = None
    while True:
        with database.transaction(engine, write=False) as connection:
            query = sa.select(jobs.c.id).where(_old(connection, limits))
            if last is not None:
                query = query.where(jobs.c.id < last)
            page = list(connection.scalars(query.order_by(jobs.c.id.desc()).limit(JOBS_AT_ONCE)))
        if not page:
            return
        yield page
        last = page[-1]


def _old(connection: Connection, limits: Limits) -> sa.ColumnElement[bool]:
    before = limits.before
    if limits.keep > 0:
        newest = sa.select(jobs.c.finished_at).where(_ENDED).order_by(jobs.c.finished_at.desc())
        kept = connection.scalar(newest.offset(limits.keep - 1).limit(1))
        before = min(before, kept) if kept is not None else float("-inf")
    # The newest job of all stays: SQLite would give its inside key to the next one.
    newest_pk = sa.select(sa.func.max(jobs.c.id)).scalar_subquery()
    return sa.and_(_ENDED, jobs.c.finished_at < before, jobs.c.id < newest_pk)


def _removable(connection: Connection, limits: Limits, candidates: Collection[int]) -> tuple[list[int], int]:
    """Return which of these jobs can go, locked, and how many cannot because others need them."""
    query = sa.select(jobs.c.id).where(jobs.c.id.in_(candidates), _old(connection, limits)).order_by(jobs.c.id)
    # One that somebody holds is perhaps being done again just now.
    locked = list(connection.scalars(query.with_for_update(skip_locked=True)))
    # Asked in another statement than the lock: PostgreSQL shows it what was committed before the lock was had.
    return _without_needed(connection, locked, ())


def _without_needed(
    connection: Connection, candidates: Collection[int], gone: Collection[int]
) -> tuple[list[int], int]:
    users = _users(connection, candidates)
    going: set[int] = set()
    # Newest first, for the same reason as the pages are.
    for pk in sorted(candidates, reverse=True):
        if all(user in going or user in gone for user in users[pk]):
            going.add(pk)
    return sorted(going), len(candidates) - len(going)


def _users(connection: Connection, candidates: Collection[int]) -> dict[int, list[int]]:
    """Return, for each of these jobs, the jobs that need it or do it again."""
    found: dict[int, list[int]] = defaultdict(list)
    needing = sa.select(needs.c.needs_pk, needs.c.job_pk).where(needs.c.needs_pk.in_(candidates))
    later = jobs.alias("later")
    same = sa.and_(later.c.tenant_id == jobs.c.tenant_id, later.c.retry_of == jobs.c.job_id)
    again = sa.select(jobs.c.id, later.c.id).join(later, same).where(jobs.c.id.in_(candidates))
    for query in (needing, again):
        for used, user in connection.execute(query):
            found[used].append(user)
    return found


def _remove_bulk(
    engine: sa.Engine, limits: Limits, candidates: Sequence[int], pause: Callable[[], object]
) -> Counter[str]:
    """Remove log lines and what else there may be very much of, in slices; a job without them is still whole."""
    removed: Counter[str] = Counter()
    with database.transaction(engine, write=False) as connection:
        much = sum(_count(connection, table, candidates) for table in (logs, events)) > ROWS_AT_ONCE
    for table, which in ((logs, sa.true()), (events, events.c.type.not_in(sorted(MOVES)))):
        while much:
            with database.transaction(engine, write=True) as connection:
                going, _ = _removable(connection, limits, candidates)
                some = sa.select(table.c.id).where(table.c.job_pk.in_(going), which).limit(ROWS_AT_ONCE)
                count = connection.execute(sa.delete(table).where(table.c.id.in_(some))).rowcount
            removed[table.name] += count
            pause()
            if count < ROWS_AT_ONCE:
                break
    return removed


def _remove(connection: Connection, going: Sequence[int], removed: Counter[str]) -> tuple[JobKey, ...]:
    """Remove locked jobs with all that is left of them, and count what went."""
    keys = _keys(connection, going)
    owned = jobs.c.id.in_(going) & jobs.c.submission_pk.is_not(None)
    counted = sa.select(jobs.c.submission_pk, sa.func.count()).where(owned).group_by(jobs.c.submission_pk)
    of_submissions = connection.execute(counted.order_by(jobs.c.submission_pk)).all()
    for table in _CHILDREN:
        removed[table.name] += connection.execute(sa.delete(table).where(table.c.job_pk.in_(going))).rowcount
    mine = sa.or_(needs.c.job_pk.in_(going), needs.c.needs_pk.in_(going))
    removed[needs.name] += connection.execute(sa.delete(needs).where(mine)).rowcount
    removed[jobs.name] += connection.execute(sa.delete(jobs).where(jobs.c.id.in_(going))).rowcount
    for pk, count in of_submissions:
        left = submissions.c["count"] - count
        connection.execute(sa.update(submissions).where(submissions.c.id == pk).values(count=left))
    return keys


def _keys(connection: Connection, pks: Collection[int]) -> tuple[JobKey, ...]:
    query = sa.select(jobs.c.tenant_id, jobs.c.job_id).where(jobs.c.id.in_(pks)).order_by(jobs.c.id)
    return tuple(JobKey(*row) for row in connection.execute(query))


def _count(connection: Connection, table: sa.Table, pks: Collection[int]) -> int:
    return int(connection.scalar(sa.select(sa.func.count()).where(table.c.job_pk.in_(pks))) or 0)
