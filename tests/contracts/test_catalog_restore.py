"""A file that is not whole is refused and changes nothing, and so is a database that holds a record or is in use."""

from __future__ import annotations

import gzip
import json
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from backups import OTHER, back_up, header_of, restored, rows
from lived_record import live
from records import NOW, a_job
from small_platform import SmallPlatform

from genplatform import errors
from genplatform.catalog import Catalog, backup_file, database, migrate, problems
from genplatform.catalog.backup import backup
from genplatform.catalog.backup_file import FORMAT, Header, Part, Writer
from genplatform.catalog.restore import restore

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
    flipped, refused, unread = tmp_path / "flipped.gz", 0, 0
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
            unread += place >= 10  # gzip's own header holds a time and a system that nobody reads

    # Nor does anybody read the few bits that pad its last block to a whole byte.
    assert unread <= 4
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


@pytest.mark.parametrize(
    "content",
    [b"", b"not gzip at all", gzip.compress(b""), gzip.compress(b"[]\n{}\n")],
    ids=["empty", "other", "empty inside", "other lines"],  # gzip puts the time into what it makes
)
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


def test_a_database_with_tables_and_nothing_in_them_takes_a_record(good: Path, catalog_url: str) -> None:
    taken = restored(catalog_url, good)

    assert {name: len(found) for name, found in taken.items()} == header_of(good).rows


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
