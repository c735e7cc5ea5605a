"""A backup is one moment of the record, whole or refused; what is restored from it is the same, in another record."""

from __future__ import annotations

import random
import stat
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from backups import OTHER, Rows, back_up, header_of, restored, rows, the_same
from lived_record import live
from records import NOW, a_job
from small_platform import SmallPlatform

from genplatform import errors
from genplatform.catalog import Catalog, database, problems, tables
from genplatform.catalog.backup import backup
from genplatform.catalog.backup_file import Writer
from genplatform.catalog.restore import TERMS, restore

ODD = "'\"\\ ünïcödé \u2028 \U0001f3a8 \t\n %s :x {}"


@pytest.fixture
def lived(catalog_url: str, tmp_path: Path) -> Iterator[Catalog]:
    """A record with everything in it, on each database, and some odd words."""
    p = SmallPlatform(catalog_url, tmp_path)
    live(p)
    with p.w.catalog.write() as tx:
        spec = {"kind": "train", "deep": {"a": [1, 2.5, None, True, ODD], "": {}}, "big": 2**53, "small": 1e-9}
        a_job(tx, "j_oddoddoddo", name="odd", labels={ODD: ODD}, spec=spec, deadline_at=0.1 + 0.2)
        job = tx.jobs.by_id("default", "j_oddoddoddo")
        assert job is not None
        tx.events.add("default", job.id, NOW + 1 / 3, "submitted", {"state": "queued"})
        tx.events.add_logs([{"tenant_id": "default", "job_pk": job.id, "run": 1, "seq": 1, "time": NOW, "text": ODD}])
    yield p.w.catalog
    p.close()


def test_a_record_goes_to_the_other_database_and_back_row_for_row(
    lived: Catalog, empty_postgres_url: str, tmp_path: Path
) -> None:
    before = rows(lived.url)
    first, second = tmp_path / "1.gz", tmp_path / "2.gz"
    back_up(lived, first)

    there = restored(empty_postgres_url, first)
    with closing(Catalog(empty_postgres_url)) as catalog:
        back_up(catalog, second)
    back = restored(f"sqlite:///{tmp_path / 'back.db'}", second)

    assert len(before["events"]) > 40
    assert the_same(before, there)
    assert the_same(before, back)
    assert before["jobs"][-1][there["jobs"][-1].index("odd")] == "odd"
    assert header_of(first).rows == header_of(second).rows


def test_the_restored_record_is_another_one_whose_terms_begin_where_none_came(
    lived: Catalog, target: str, tmp_path: Path
) -> None:
    with lived.read() as tx:
        term, was = tx.leaders.current(), tx.identity.incarnation()
    back_up(lived, tmp_path / "b.gz")

    restore(target, tmp_path / "b.gz", incarnation=OTHER, now=NOW)

    with closing(Catalog(target)) as catalog, catalog.read() as tx:
        leader, is_ = tx.leaders.current(), tx.identity.incarnation()
    assert (was != OTHER, is_) == (True, OTHER)
    assert term is not None
    assert leader is not None
    assert (leader.term, leader.holder, leader.expires_at, leader.data) == (TERMS, "", 0.0, {})
    assert 0 < term.term < TERMS


def test_a_record_restored_twice_has_terms_of_its_own_each_time(lived: Catalog, target: str, tmp_path: Path) -> None:
    back_up(lived, tmp_path / "1.gz")
    restore(f"sqlite:///{tmp_path / 'once.db'}", tmp_path / "1.gz", incarnation="once", now=NOW)
    with closing(Catalog(f"sqlite:///{tmp_path / 'once.db'}")) as once:
        with once.write() as tx:
            led = tx.leaders.take("d", NOW, 5.0)
        back_up(once, tmp_path / "2.gz")

    restore(target, tmp_path / "2.gz", incarnation="twice", now=NOW)

    with closing(Catalog(target)) as twice, twice.write() as tx:
        assert (led, tx.leaders.take("d", NOW, 5.0)) == (TERMS + 1, 2 * TERMS + 1)


def test_what_is_restored_is_sound_and_goes_on_with_numbers_of_its_own(
    lived: Catalog, target: str, tmp_path: Path
) -> None:
    back_up(lived, tmp_path / "b.gz")
    restore(target, tmp_path / "b.gz", incarnation=OTHER, now=NOW)

    p = SmallPlatform(target, tmp_path / "other")
    p.w = replace(p.w, randbelow=random.Random(8).randrange)  # else it would draw the same ids again
    last = max(row[0] for row in rows(target)["jobs"])
    new = p.one("kind: train\nname: new\nrecipe: gan\ndata: {source: digits}\nbudget: {steps: 10}\n")
    p.trainer(p.open(new)).publish(digest="e" * 64)
    found = problems(p.w.catalog.engine)
    taken = p.row(new).id
    p.close()

    assert taken == last + 1
    # The odd job has a log line of a run that it never had.
    assert {q.law for q in found} == {"log_run"}


def test_a_backup_is_its_owners_alone_and_the_same_record_makes_the_same_bytes(lived: Catalog, tmp_path: Path) -> None:
    first = back_up(lived, tmp_path / "1.gz")
    back_up(lived, tmp_path / "2.gz")

    assert stat.S_IMODE((tmp_path / "1.gz").stat().st_mode) == 0o600
    assert (tmp_path / "1.gz").read_bytes() == (tmp_path / "2.gz").read_bytes()
    assert first.size == (tmp_path / "1.gz").stat().st_size
    assert first.header.rows["jobs"] == 14
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".part")] == []


def test_a_backup_says_what_it_leaves_in_the_store(lived: Catalog, tmp_path: Path) -> None:
    done = back_up(lived, tmp_path / "b.gz")

    found = rows(lived.url)
    sizes = [row.size for row in named(found, "artifacts")]
    sizes += [row.size for row in named(found, "shards") if row.state == "published"]
    sizes += [row.size for row in named(found, "model_versions") if row.key is not None]
    assert (done.objects_left, done.bytes_left) == (len(sizes), sum(sizes))
    assert len(sizes) == 7


def named(found: Rows, table: str) -> list[Any]:
    columns = tables.metadata.tables[table].c.keys()
    return [type("Row", (), dict(zip(columns, row, strict=True))) for row in found[table]]


def test_a_file_that_is_there_is_not_written_over(lived: Catalog, tmp_path: Path) -> None:
    (tmp_path / "b.gz").write_bytes(b"the last good one")

    with pytest.raises(errors.Conflict, match="exists already"):
        back_up(lived, tmp_path / "b.gz")

    assert (tmp_path / "b.gz").read_bytes() == b"the last good one"


def test_a_backup_that_cannot_be_written_leaves_nothing(lived: Catalog, tmp_path: Path) -> None:
    with pytest.raises(errors.Unavailable, match="No such file or directory"):
        back_up(lived, tmp_path / "nowhere" / "b.gz")


def test_a_backup_that_breaks_off_leaves_nothing(
    lived: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Writer) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Writer, "end", full)

    with pytest.raises(errors.Unavailable, match="No space left"):
        back_up(lived, tmp_path / "b.gz")

    assert [p.name for p in tmp_path.iterdir() if "b.gz" in p.name] == []


def test_a_database_without_tables_has_nothing_to_back_up(empty_database_url: str, tmp_path: Path) -> None:
    engine = database.connect(empty_database_url)

    with pytest.raises(errors.Unavailable, match="no tables yet"):
        backup(engine, tmp_path / "b.gz", NOW)

    engine.dispose()
    assert not (tmp_path / "b.gz").exists()


def test_what_is_written_while_a_backup_is_made_is_not_in_it(lived: Catalog, target: str, tmp_path: Path) -> None:
    before = rows(lived.url)
    other = Catalog(lived.url)
    written: list[str] = []

    def write_meanwhile(_: Any, __: Any, statement: str, *___: Any) -> None:
        # After jobs and before runs and events are read.
        if not written and "FROM runs" in statement and "ORDER BY" in statement:
            written.append(statement)
            with other.write() as tx:
                job_pk = a_job(tx, "j_meanwhileq")
                tx.events.add("default", job_pk, NOW, "submitted", {"state": "queued"})
                tx.events.add("default", before["jobs"][0][0], NOW, "metrics", {})

    sa.event.listen(lived.engine, "before_cursor_execute", write_meanwhile)

    back_up(lived, tmp_path / "b.gz")

    other.close()
    assert written
    assert the_same(before, restored(target, tmp_path / "b.gz"))
    assert len(rows(lived.url)["events"]) == len(before["events"]) + 2


def test_memory_stays_flat_whatever_the_record_holds(catalog_url: str, tmp_path: Path) -> None:
    line = random.Random(7).randbytes(4000).hex()
    with closing(Catalog(catalog_url)) as catalog:
        with catalog.write() as tx:
            job_pk = a_job(tx)
            for first in range(0, 6000, 1000):
                tx.events.add_logs(
                    [
                        {
                            "tenant_id": "default",
                            "job_pk": job_pk,
                            "run": 1,
                            "seq": n,
                            "time": NOW,
                            "text": f"{n}{line}",
                        }
                        for n in range(first, first + 1000)
                    ]
                )
        tracemalloc.start()
        back_up(catalog, tmp_path / "b.gz")
        peak_out = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        restore(f"sqlite:///{tmp_path / 'target.db'}", tmp_path / "b.gz", incarnation=OTHER, now=NOW)
        peak_in = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

    # 48 MB of lines go through.
    assert peak_out < 30e6
    assert peak_in < 40e6
