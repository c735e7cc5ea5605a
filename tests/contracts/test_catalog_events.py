"""Events and log lines in the record: appended, read in pages, each once."""

from __future__ import annotations

import threading

from postgres import PostgresServer
from records import NOW, a_job

from genplatform.catalog import Catalog


def line(job_pk: int, seq: int, run: int = 1, **values) -> dict:
    row = {"tenant_id": "default", "job_pk": job_pk, "run": run, "seq": seq, "time": NOW + seq, "text": f"line {seq}"}
    return row | values


def test_events_of_a_job_are_read_in_order_in_pages_that_meet(catalog):
    with catalog.write() as tx:
        job_pk, other = a_job(tx, "j_aaaaaaaaaa"), a_job(tx, "j_bbbbbbbbbb")
        for n in range(5):
            tx.events.add("default", job_pk, NOW + n, "metrics" if n % 2 else "progress", {"n": n})
            tx.events.add("default", other, NOW + n, "progress", {"n": -1})
        tx.events.add_many([])
    with catalog.read() as tx:
        first = tx.events.page(job_pk, after=0, limit=3)
        rest = tx.events.page(job_pk, after=first[-1].id, limit=3)
        metrics = tx.events.page(job_pk, after=0, limit=10, types=["metrics"])

        assert [e.data["n"] for e in first + rest] == [0, 1, 2, 3, 4]
        assert [e.time for e in first] == [NOW, NOW + 1, NOW + 2]
        assert [e.data["n"] for e in metrics] == [1, 3]
        assert tx.events.page(job_pk, after=rest[-1].id, limit=3) == []


def test_a_log_line_that_comes_twice_is_kept_once_as_it_first_was(catalog):
    with catalog.write() as tx:
        job_pk = a_job(tx)
        tx.events.add_logs([line(job_pk, 1), line(job_pk, 2)])
        tx.events.add_logs([line(job_pk, 2, text="again"), line(job_pk, 3), line(job_pk, 3, text="again")])
        tx.events.add_logs([line(job_pk, 2, run=2, text="run 2")])
        tx.events.add_logs([])
    with catalog.read() as tx:
        read = tx.events.log_page(job_pk, run=None, after=0, since=None, tail=None, limit=10)

    assert [(r.run, r.seq, r.text) for r in read] == [
        (1, 1, "line 1"),
        (1, 2, "line 2"),
        (1, 3, "line 3"),
        (2, 2, "run 2"),
    ]


def test_log_lines_are_chosen_by_run_cursor_time_and_tail(catalog):
    with catalog.write() as tx:
        job_pk = a_job(tx)
        tx.events.add_logs([line(job_pk, n) for n in range(1, 9)] + [line(job_pk, n, run=2) for n in (1, 2)])

        def read(**chosen) -> list[tuple[int, int]]:
            wanted = {"run": None, "after": 0, "since": None, "tail": None, "limit": 100} | chosen
            return [(r.run, r.seq) for r in tx.events.log_page(job_pk, **wanted)]

        everything = [(1, n) for n in range(1, 9)] + [(2, 1), (2, 2)]
        third = tx.events.log_page(job_pk, run=None, after=0, since=None, tail=None, limit=3)[-1].id
        assert read() == everything
        assert read(limit=3) == everything[:3]
        assert read(after=third) == everything[3:]
        assert read(run=2) == [(2, 1), (2, 2)]
        assert read(since=NOW + 7) == [(1, 7), (1, 8)]
        assert read(tail=3) == everything[-3:]
        assert read(tail=3, limit=2) == everything[-2:]
        assert read(tail=2, run=1) == [(1, 7), (1, 8)]
        assert read(tail=100, after=third) == everything[3:]
        assert read(tail=0) == []


def test_a_reader_that_goes_on_after_the_last_event_it_saw_misses_none(postgres: PostgresServer, postgres_url):
    """On PostgreSQL a transaction may take a lower id than another and be seen later; SQLite has one writer."""
    catalog = Catalog(postgres_url)
    with catalog.write() as tx:
        job_pk = a_job(tx)

    def add(what: str) -> None:
        with catalog.write() as tx:
            tx.events.add("default", job_pk, NOW, what, {})
            tx.events.add_logs([line(job_pk, 2, text=what)])

    other = threading.Thread(target=add, args=("second",))
    with catalog.write() as tx:
        tx.events.add("default", job_pk, NOW, "first", {})
        tx.events.add_logs([line(job_pk, 1, text="first")])
        other.start()
        while other.is_alive() and not postgres.blocked():
            other.join(0.01)
        seen, logs = read_all(catalog, job_pk, 0, 0)
    other.join()
    more, more_logs = read_all(catalog, job_pk, *(max([r.id for r in rows], default=0) for rows in (seen, logs)))
    catalog.close()

    assert [e.type for e in seen + more] == ["first", "second"]
    assert [r.text for r in logs + more_logs] == ["first", "second"]


def read_all(catalog: Catalog, job_pk: int, events_after: int, logs_after: int) -> tuple[list, list]:
    with catalog.read() as tx:
        return (
            tx.events.page(job_pk, after=events_after, limit=10),
            tx.events.log_page(job_pk, run=None, after=logs_after, since=None, tail=None, limit=10),
        )
