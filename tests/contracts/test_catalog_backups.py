"""A backup is one moment of the record, whole or refused; what is restored from it is the same, in another record."""

from __future__ import annotations

import gzip
import json
import random
import shutil
import sqlite3
import stat
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from lived_record import live
from records import NOW, a_job
from small_platform import SmallPlatform

from genplatform import errors
from genplatform.catalog import Catalog, backup_file, database, migrate, problems, tables
from genplatform.catalog.backup import BackedUp, backup
from genplatform.catalog.backup_file import FORMAT, Header, Part, Writer
from genplatform.catalog.restore import TERMS, restore

OTHER = "another-incarnation-of-it"
MADE_ANEW = {"identity", "leaders"}
Rows = dict[str, list[tuple[Any, ...]]]

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


@pytest.fixture(params=["sqlite", "postgresql"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with nothing in it, on each of the two, beside the one that is backed up."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'target.db'}"
    return str(request.getfixturevalue("empty_postgres_url"))


def back_up(catalog: Catalog, path: Path) -> BackedUp:
    return backup(catalog.engine, path, NOW)


def rows(url: str) -> Rows:
    """Return every row of every table, as both databases give it."""
    engine = database.connect(url)
    with engine.connect() as connection:
        found = {
            table.name: [tuple(row) for row in connection.execute(sa.select(table).order_by(*table.primary_key))]
            for table in tables.metadata.sorted_tables
        }
    engine.dispose()
    return found


def restored(url: str, path: Path, incarnation: str = OTHER) -> Rows:
    restore(url, path, incarnation=incarnation, now=NOW)
    return rows(url)


def the_same(one: Rows, other: Rows) -> bool:
    return all(one[name] == other[name] for name in one if name not in MADE_ANEW)


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


def header_of(path: Path) -> Header:
    return backup_file.check(path)


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


# Files that are not what they were.


@pytest.fixture(scope="module")
def good(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of a record with everything in it."""
    folder = tmp_path_factory.mktemp("good")
    shutil.copy(migrated_sqlite, folder / "catalog.db")
    p = SmallPlatform(f"sqlite:///{folder / 'catalog.db'}", folder)
    live(p)
    back_up(p.w.catalog, folder / "good.gz")
    p.close()
    return folder / "good.gz"


def test_a_file_cut_anywhere_is_refused_and_changes_nothing(good: Path, tmp_path: Path) -> None:
    data, target = good.read_bytes(), tmp_path / "target.db"
    cut = tmp_path / "cut.gz"
    for length in [*range(0, 20), *range(20, len(data) - 20, 37), *range(len(data) - 20, len(data))]:
        cut.write_bytes(data[:length])

        with pytest.raises(errors.BadRequest, match=r"not a whole backup|is no backup"):
            restore(f"sqlite:///{target}", cut, incarnation=OTHER, now=NOW)

    assert not target.exists()


def test_a_flipped_bit_is_refused_or_means_nothing(good: Path, tmp_path: Path) -> None:
    data, chance = good.read_bytes(), random.Random(7)
    whole = list(backup_file.read(good)[1])
    flipped, refused = tmp_path / "flipped.gz", 0
    for place in [*range(20), *(chance.randrange(len(data)) for _ in range(300)), *range(len(data) - 8, len(data))]:
        bad = bytearray(data)
        bad[place] ^= 1 << chance.randrange(8)
        flipped.write_bytes(bad)
        try:
            header, read = backup_file.read(flipped)
            assert (header, list(read)) == (header_of(good), whole)
        except errors.BadRequest:
            refused += 1
        else:
            assert place < 10  # gzip's own header holds a time and a system that nobody reads

    assert refused >= 300


def repacked(good: Path, change: Callable[[list[bytes]], list[bytes]]) -> Path:
    """Change a backup's lines, and pack them again as gzip would."""
    lines = gzip.decompress(good.read_bytes()).splitlines(keepends=True)
    bad = good.with_name("bad.gz")
    bad.write_bytes(gzip.compress(b"".join(change(lines))))
    return bad


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[:-1],
        lambda lines: [*lines[:5], *lines[6:]],
        lambda lines: [*lines[:5], lines[5], *lines[5:]],
        lambda lines: [*lines[:5], lines[5].replace(b"default", b"defau1t"), *lines[6:]],
        lambda lines: [*lines, b"{}\n"],
        lambda lines: [*lines, lines[-1]],
        lambda lines: [*lines[:-1], b'{"rows": 1, "sha256": ""}\n'],
        lambda lines: [*lines[:5], b"\xff\xfe\n", *lines[6:]],
        lambda lines: [*lines[:5], b"[" * 100_000 + b"\n", *lines[6:]],
        lambda lines: [lines[0].replace(b'"rows":13', b'"rows":12'), *lines[1:]],
    ],
)
def test_lines_that_were_changed_are_refused(
    good: Path, tmp_path: Path, change: Callable[[list[bytes]], list[bytes]]
) -> None:
    bad = repacked(good, change)

    with pytest.raises(errors.BadRequest, match=r"not a whole backup|is no backup"):
        restore(f"sqlite:///{tmp_path / 'target.db'}", bad, incarnation=OTHER, now=NOW)

    assert not (tmp_path / "target.db").exists()


@pytest.mark.parametrize("content", [b"", b"not gzip at all", gzip.compress(b""), gzip.compress(b"[]\n{}\n")])
def test_what_is_no_backup_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)

    with pytest.raises(errors.BadRequest, match=r"no backup of genctl|not a whole backup"):
        restore(f"sqlite:///{tmp_path / 'target.db'}", tmp_path / "x", incarnation=OTHER, now=NOW)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(errors.BadRequest, match="cannot be read: No such file"):
        restore(f"sqlite:///{tmp_path / 'target.db'}", tmp_path / "x", incarnation=OTHER, now=NOW)


def test_a_backup_of_a_newer_genctl_is_refused_with_its_version(good: Path, tmp_path: Path) -> None:
    def write(name: str, revision: str) -> Path:
        with (tmp_path / name).open("wb") as out:
            writer = Writer(out, Header(revision, NOW, "i", "9.9.9", ()))
            writer.end()
        return tmp_path / name

    newer = write("newer.gz", "9999")
    format_2 = repacked(good, lambda lines: [lines[0].replace(FORMAT.encode(), b"genctl-record/2"), *lines[1:]])

    with pytest.raises(errors.SettingsError, match="revision 9999") as raised:
        restore(f"sqlite:///{tmp_path / 'target.db'}", newer, incarnation=OTHER, now=NOW)
    with pytest.raises(errors.BadRequest, match="genctl-record/2"):
        restore(f"sqlite:///{tmp_path / 'target.db'}", format_2, incarnation=OTHER, now=NOW)

    assert "genctl 9.9.9" in raised.value.hint


def forged(path: Path, *parts: tuple[Part, list[list[Any]]]) -> Path:
    """Write a backup that is whole and holds what no record can."""
    with path.open("wb") as out:
        writer = Writer(out, Header(migrate.head(), NOW, "i", "0.1.0", tuple(part for part, _ in parts)))
        for _, lines in parts:
            for line in lines:
                writer.row(line)
        writer.end()
    return path


def test_a_whole_file_with_rows_that_contradict_the_tables_leaves_nothing(target: str, tmp_path: Path) -> None:
    needs = Part("needs", ("job_pk", "needs_pk", "tenant_id"), 1)
    orphan = forged(tmp_path / "orphan.gz", (needs, [[1, 2, "default"]]))
    strange = forged(tmp_path / "strange.gz", (Part("needs", ("job_pk", "tenant_id"), 0), []), (needs, [[1, 2, "d"]]))
    stranger = forged(tmp_path / "stranger.gz", (Part("pg_authid", ("rolname",), 1), [["me"]]))

    for path, said in ((orphan, "refused by the database"), (strange, "table needs"), (stranger, "table pg_authid")):
        with pytest.raises(errors.BadRequest, match=said):
            restore(target, path, incarnation=OTHER, now=NOW)

    engine = database.connect(target)
    assert sa.inspect(engine).get_table_names() == []
    engine.dispose()


# Databases that something is in the way of.


def test_a_database_with_tables_and_nothing_in_them_takes_a_record(
    lived: Catalog, postgres_url: str, tmp_path: Path
) -> None:
    back_up(lived, tmp_path / "b.gz")
    migrate.upgrade(f"sqlite:///{tmp_path / 'fresh.db'}")

    for url in (postgres_url, f"sqlite:///{tmp_path / 'fresh.db'}"):
        if url != lived.url:
            assert the_same(rows(lived.url), restored(url, tmp_path / "b.gz"))


def test_a_database_that_holds_a_record_keeps_it(good: Path, catalog: Catalog) -> None:
    with catalog.write() as tx:
        a_job(tx)
    catalog.close()  # a session that is connected would be refused before that
    before = rows(catalog.url)

    with pytest.raises(errors.Conflict, match="holds a record already: 1 jobs"):
        restore(catalog.url, good, incarnation=OTHER, now=NOW)

    assert rows(catalog.url) == before


def test_published_models_are_a_record_too(good: Path, catalog: Catalog) -> None:
    with catalog.write() as tx:
        from records import a_version

        tx.models.publish("default", "m", a_version())
    catalog.close()

    with pytest.raises(errors.Conflict, match="1 published models"):
        restore(catalog.url, good, incarnation=OTHER, now=NOW)


def test_a_database_that_a_dispatcher_leads_on_is_not_replaced_under_it(good: Path, catalog: Catalog) -> None:
    with catalog.write() as tx:
        tx.leaders.take("d1", NOW, 5.0)
    catalog.close()

    with pytest.raises(errors.Conflict, match="A dispatcher leads") as raised:
        restore(catalog.url, good, incarnation=OTHER, now=NOW + 4)

    assert "genctl down" in raised.value.hint
    restore(catalog.url, good, incarnation=OTHER, now=NOW + 6)


def test_a_postgresql_that_a_process_of_ours_is_connected_to_is_not_replaced_under_it(
    good: Path, postgres_url: str
) -> None:
    with closing(Catalog(postgres_url)) as api:
        api.check()
        with pytest.raises(errors.Conflict, match="other sessions of genctl"):
            restore(postgres_url, good, incarnation=OTHER, now=NOW)

    restore(postgres_url, good, incarnation=OTHER, now=NOW)


def test_tables_of_a_newer_genctl_are_left_alone(good: Path, catalog_url: str) -> None:
    engine = database.connect(catalog_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()

    with pytest.raises(errors.SettingsError, match="at revision 9999"):
        restore(catalog_url, good, incarnation=OTHER, now=NOW)


# Older revisions.

OLD_JOB = {
    "tenant_id": "default", "job_id": "j_aaaaaaaaaa", "name": "n", "kind": "train", "queue": "default", "priority": 500,
    "labels": {"a": "b"}, "spec": {"kind": "train"}, "state": "queued", "open_needs": 0, "run": 0, "workers": 0,
    "done": 0, "total": 0, "unit": "steps", "created_at": NOW,
}  # fmt: skip


def test_a_backup_of_the_first_revision_is_loaded_and_brought_to_the_newest(target: str, tmp_path: Path) -> None:
    old = f"sqlite:///{tmp_path / 'old.db'}"
    migrate.upgrade(old, "0001")
    with closing(sqlite3.connect(tmp_path / "old.db")) as db:
        for number, letter in enumerate("abc", start=1):
            job = {k: json.dumps(v) if isinstance(v, dict) else v for k, v in OLD_JOB.items()}
            job["job_id"] = f"j_{letter * 10}"
            names = ", ".join(job)
            db.execute(f"INSERT INTO jobs ({names}) VALUES ({', '.join('?' * len(job))})", list(job.values()))
            db.execute(
                "INSERT INTO events (tenant_id, job_pk, time, type, data) VALUES ('default', ?, ?, 'submitted', ?)",
                (number, NOW, '{"state": "queued"}'),
            )
        owned = json.dumps(["j_aaaaaaaaaa", "j_bbbbbbbbbb"])
        db.execute(
            "INSERT INTO submissions (tenant_id, key, body_digest, job_ids, created_at) VALUES (?, ?, ?, ?, ?)",
            ("default", "k", "d" * 64, owned, NOW),
        )
        db.commit()
    engine = database.connect(old)
    done = backup(engine, tmp_path / "old.gz", NOW)
    engine.dispose()

    restore(target, tmp_path / "old.gz", incarnation=OTHER, now=NOW)

    with closing(Catalog(target)) as catalog:
        with catalog.read() as tx:
            submission = tx.submissions.find("default", "k")
            assert submission is not None
            mine = [job.job_id for job in tx.submissions.jobs(submission.id)]
            incarnation = tx.identity.incarnation()
        found = problems(catalog.engine)
    assert (done.header.revision, done.header.incarnation) == ("0001", "")
    assert mine == ["j_aaaaaaaaaa", "j_bbbbbbbbbb"]
    assert incarnation == OTHER
    assert found == []


# Size.


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
