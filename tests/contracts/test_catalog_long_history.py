"""What a person asks costs the same however long the history is, counted in what the databases do for it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from effort import rows_looked_at, steps
from history import Past, fill
from postgres import PostgresServer
from small_platform import TENANT, SmallPlatform, train

from genplatform.domain.states import JobState
from genplatform.services import cancel, finish, health, jobs, limits, measures, reconcile, submit

SHORT = Past(ended=1_500, queued=30, waiting=30)
LONG = Past(ended=15_000, queued=30, waiting=30)
# A page is read once from each of nine states, and once as it is shown, with its runs.
MOST_ROWS = 900
SERIAL = count()


def a_submit(p: SmallPlatform) -> str:
    made = submit.submit(p.w, TENANT, train(f"s{next(SERIAL)}").encode(), "application/yaml", key=f"k{next(SERIAL)}")
    return str(made["jobs"][0]["id"])


def an_old_one(p: SmallPlatform) -> str:
    with p.w.catalog.read() as tx:
        return tx.jobs.get(1_000).job_id


def reads(p: SmallPlatform) -> dict[str, Callable[[], object]]:
    """Return what is asked of a platform again and again. Each has as much to answer after any history."""
    w, old = p.w, an_old_one(p)
    return {
        "ps": lambda: jobs.ps(w, TENANT),
        "ps -a": lambda: jobs.ps(w, TENANT, all=True),
        "ps of a state": lambda: jobs.ps(w, TENANT, states=["failed"]),
        "ps of a state that nobody is in": lambda: jobs.ps(w, TENANT, states=["running", "paused"]),
        "ps of a queue": lambda: jobs.ps(w, TENANT, queue="batch"),
        "ps -a of a queue": lambda: jobs.ps(w, TENANT, queue="batch", all=True),
        "ps -a of a queue that is empty": lambda: jobs.ps(w, TENANT, queue="none", all=True),
        "ps -a of another tenant": lambda: jobs.ps(w, "acme", all=True),
        "ps -a of a tenant without jobs": lambda: jobs.ps(w, "noone", all=True),
        "a deep page": lambda: jobs.ps(w, TENANT, all=True, after="1000"),
        "a deep page of a state": lambda: jobs.ps(w, TENANT, states=["failed"], after="1400"),
        "show by id": lambda: jobs.show(w, TENANT, old),
        "show by prefix": lambda: jobs.show(w, TENANT, old[:-1]),
        "show by a name that many have": lambda: jobs.show(w, TENANT, "nightly"),
        "events": lambda: jobs.events(w, TENANT, old),
        "logs": lambda: jobs.logs(w, TENANT, old),
        "the last log lines": lambda: jobs.logs(w, TENANT, old, tail=10),
        "artifacts": lambda: jobs.artifacts(w, TENANT, old),
        "status": lambda: health.status(w),
        "metrics": lambda: measures.measures(w),
        "the dispatcher's look at what is open": lambda: reconcile.open_jobs(w),
        "the dispatcher's look at the line": lambda: reconcile.spans(w),
        "the dispatcher's look at what is due": lambda: reconcile.promote(w, 1),
        "the dispatcher's look at deadlines": lambda: limits.fail_overdue(w, 1),
        "the dispatcher's look at what ended": lambda: finish.ended(w, (0.0, 0), 2e9, 200),
    }


def writes(p: SmallPlatform) -> dict[str, Callable[[], object]]:
    """Return what is written again and again."""
    return {
        "submit": lambda: a_submit(p),
        "submit and cancel": lambda: cancel.cancel(p.w, TENANT, a_submit(p)),
        "what waits is released": lambda: released(p),
    }


def released(p: SmallPlatform) -> None:
    with p.w.catalog.write() as tx:
        (first,) = tx.jobs.in_states([JobState.QUEUED], limit=1)
        assert len(tx.jobs.need_met(first.id)) == LONG.waiting


@pytest.fixture(scope="module")
def short_and_long(
    migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[SmallPlatform, SmallPlatform]]:
    """Two platforms over SQLite, with as many open jobs and a tenth of the history."""
    made = []
    for past in (SHORT, LONG):
        folder = tmp_path_factory.mktemp("history")
        shutil.copy(migrated_sqlite, folder / "catalog.db")
        url = f"sqlite:///{folder / 'catalog.db'}"
        fill(url, past)
        made.append(SmallPlatform(url, folder))
    yield made[0], made[1]
    for p in made:
        p.close()


@pytest.fixture(scope="module")
def long_postgres(
    postgres: PostgresServer, migrated_postgres: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SmallPlatform]:
    """A platform over PostgreSQL with a long history."""
    name = postgres.database(migrated_postgres)
    fill(postgres.url(name), LONG)
    p = SmallPlatform(postgres.url(name), tmp_path_factory.mktemp("history"))
    yield p
    p.close()
    postgres.drop(name)


def test_sqlite_does_no_more_for_a_long_history(short_and_long: tuple[SmallPlatform, SmallPlatform]) -> None:
    short, long = short_and_long
    efforts = {}
    for asked in (reads, writes):
        for name, act in asked(short).items():
            act()
            efforts[name] = steps(short.w.catalog, act)
        for name, act in asked(long).items():
            act()
            efforts[name] = (efforts[name], steps(long.w.catalog, act))

    assert {name: both for name, both in efforts.items() if both[1] > 1.2 * both[0] + 5} == {}
    assert all(both[0] > 0 for both in efforts.values())


def test_postgresql_goes_through_few_rows_of_a_long_history(long_postgres: SmallPlatform) -> None:
    asked = reads(long_postgres) | writes(long_postgres)

    looked_at = {name: rows_looked_at(long_postgres.w.catalog, act) for name, act in asked.items()}

    assert {name: rows for name, rows in looked_at.items() if rows > MOST_ROWS} == {}
    assert looked_at["ps -a"] >= 50


def test_what_an_operator_watches_is_counted_in_one_look_at_what_is_open(long_postgres: SmallPlatform) -> None:
    w = long_postgres.w
    with w.catalog.read() as tx:
        open_jobs, groups = sum(tx.jobs.counts().values()), len(tx.jobs.standing())

    looked_at = {
        "status": rows_looked_at(w.catalog, lambda: health.status(w)),
        "metrics": rows_looked_at(w.catalog, lambda: measures.measures(w)),
    }

    # Besides: one row a group, for the time of its oldest job, and the few of the other tables.
    assert {name: rows for name, rows in looked_at.items() if not open_jobs <= rows <= open_jobs + groups + 10} == {}
