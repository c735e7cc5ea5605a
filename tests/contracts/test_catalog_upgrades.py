"""A database of every earlier revision comes to the newest one with all that was in it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from records import NOW

from genplatform.catalog import Catalog, database, migrate
from genplatform.domain.names import ModelRef
from genplatform.domain.states import JobState

JOB = {
    "tenant_id": "default",
    "name": "digits",
    "kind": "train",
    "queue": "default",
    "priority": 500,
    "labels": {"a": "b"},
    "spec": {"kind": "train"},
    "state": "queued",
    "open_needs": 0,
    "run": 0,
    "workers": 0,
    "done": 0,
    "total": 100,
    "unit": "steps",
    "created_at": NOW,
}


def fill(url: str, rows: dict[str, list[dict[str, Any]]]) -> None:
    """Put rows into tables as they are in the database now."""
    engine = database.connect(url)
    tables = sa.MetaData()
    with engine.begin() as connection:
        tables.reflect(connection)
        for name, values in rows.items():
            connection.execute(sa.insert(tables.tables[name]), values)
    engine.dispose()


def test_from_0001_each_submission_keeps_its_jobs_in_order(empty_database_url):
    migrate.upgrade(empty_database_url, "0001")
    ids = ["j_cccccccccc", "j_aaaaaaaaaa", "j_bbbbbbbbbb", "j_dddddddddd"]
    fill(
        empty_database_url,
        {
            "jobs": [JOB | {"job_id": i} for i in ids] + [JOB | {"job_id": ids[0], "tenant_id": "theirs"}],
            "submissions": [
                {"tenant_id": t, "key": k, "body_digest": "d" * 64, "job_ids": owned, "created_at": NOW}
                for t, k, owned in [
                    ("default", "two", ids[:2]),
                    ("default", "one", ids[2:3]),
                    ("theirs", "two", ids[:1]),
                    ("default", "none", []),
                ]
            ],
        },
    )

    reached = migrate.upgrade(empty_database_url)

    catalog = Catalog(empty_database_url)
    with catalog.read() as tx:
        found = {k: tx.submissions.find(*k) for k in [("default", "two"), ("default", "one"), ("theirs", "two")]}
        owned = {k: [(j.tenant_id, j.job_id) for j in tx.submissions.jobs(s.id)] for k, s in found.items()}
        empty = tx.submissions.find("default", "none")
        without = tx.jobs.by_id("default", ids[3])
        noise = tx.models.find("default", ModelRef("noise", version=1))
    catalog.close()
    assert reached == migrate.Upgraded("0001", migrate.head())
    assert owned == {
        ("default", "two"): [("default", ids[0]), ("default", ids[1])],
        ("default", "one"): [("default", ids[2])],
        ("theirs", "two"): [("theirs", ids[0])],
    }
    assert [s.count for s in found.values()] == [2, 1, 1]
    assert empty is not None
    assert empty.count == 0
    assert (without.submission_pk, without.labels, without.wish, without.retry_of) == (None, {"a": "b"}, None, None)
    assert noise is not None


def test_from_0002_every_job_is_found_by_the_indexes_that_are_new(empty_database_url):
    migrate.upgrade(empty_database_url, "0002")
    states = ["queued", "waiting", "succeeded", "queued"]
    jobs = [JOB | {"job_id": f"j_{n}", "state": state} for n, state in zip("abcd", states, strict=True)]
    jobs[1] |= {"run_at": NOW + 5}
    jobs[2] |= {"finished_at": NOW + 9}
    jobs[3] |= {"priority": 900, "deadline_at": NOW + 7}
    fill(empty_database_url, {"jobs": [{"run_at": None, "finished_at": None, "deadline_at": None} | j for j in jobs]})

    reached = migrate.upgrade(empty_database_url)

    catalog = Catalog(empty_database_url)
    with catalog.read() as tx:
        page = tx.jobs.page("default", states=[], queue="default", before=None, limit=10)
        counts = {(one.queue, one.state): one.number for one in tx.jobs.standing()}
        ahead = tx.queued.ahead_of(page[3])
        due, ended = tx.jobs.due(NOW + 5, NOW + 60, 10), tx.jobs.ended((NOW, 0), NOW + 9, 10)
        overdue = tx.jobs.overdue([JobState.QUEUED], NOW + 7, 10)
    catalog.close()
    assert reached == migrate.Upgraded("0002", migrate.head())
    assert [j.job_id for j in page] == ["j_d", "j_c", "j_b", "j_a"]
    assert (counts, ahead) == ({("default", "queued"): 2, ("default", "waiting"): 1}, 1)
    assert [[j.job_id for j in found] for found in (due, ended, overdue)] == [["j_b"], ["j_c"], ["j_d"]]
