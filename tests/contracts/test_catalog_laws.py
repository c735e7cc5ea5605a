"""Damage of every kind is planted in a sound record, on each database, and found and named."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from lived_record import live
from postgres import PostgresServer
from small_platform import SmallPlatform

from genplatform import errors
from genplatform.catalog import Catalog, Problem, database, laws, migrate, problems
from genplatform.catalog.verify import examine
from genplatform.services.verify import verify

DATABASES = ("sqlite", "postgresql")
Ids = dict[str, str]


@dataclass(frozen=True)
class Lived:
    """A record that was lived in: where it can be copied from, and its jobs' ids by name."""

    place: str
    ids: Ids


def _live(url: str, folder: Path) -> Ids:
    p = SmallPlatform(url, folder)
    try:
        return live(p)
    finally:
        p.close()


@pytest.fixture(scope="module")
def lived_sqlite(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Lived:
    folder = tmp_path_factory.mktemp("lived")
    shutil.copy(migrated_sqlite, folder / "catalog.db")
    ids = _live(f"sqlite:///{folder / 'catalog.db'}", folder)
    return Lived(str(folder / "catalog.db"), ids)


@pytest.fixture(scope="module")
def lived_postgres(
    postgres: PostgresServer, migrated_postgres: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Lived]:
    name = postgres.database(migrated_postgres)
    yield Lived(name, _live(postgres.url(name), tmp_path_factory.mktemp("lived")))
    postgres.drop(name)


class Record:
    """One to damage."""

    def __init__(self, url: str, ids: Ids) -> None:
        self.url = url
        self.ids = ids
        self.engine = database.connect(url)

    @contextmanager
    def damaged(self, *statements: str, keep: bool = False) -> Iterator[sa.Connection]:
        """Do to it what no service would, and the database itself would not allow."""
        off, on = ("PRAGMA foreign_keys=OFF", "PRAGMA foreign_keys=ON")
        if self.engine.dialect.name == "postgresql":
            off, on = ("SET session_replication_role = replica", "SET session_replication_role = origin")
        with self.engine.connect() as connection:
            driver: Any = connection.connection.dbapi_connection
            driver.execute(off)
            for statement in statements:
                assert connection.execute(sa.text(statement)).rowcount > 0, statement
            yield connection
            (connection.commit if keep else connection.rollback)()
            driver.execute(on)
            driver.commit()

    def damage(self, *statements: str) -> None:
        """Do it for good."""
        with self.damaged(*statements, keep=True):
            pass

    def problems(self) -> list[Problem]:
        return problems(self.engine)


def _standing(url: str, ids: Ids) -> Iterator[Record]:
    made = Record(url, ids)
    yield made
    made.engine.dispose()


@pytest.fixture(scope="module")
def standing_sqlite(lived_sqlite: Lived) -> Iterator[Record]:
    yield from _standing(f"sqlite:///{lived_sqlite.place}", lived_sqlite.ids)


@pytest.fixture(scope="module")
def standing_postgres(postgres: PostgresServer, lived_postgres: Lived) -> Iterator[Record]:
    # A copy: nobody may be connected to what is copied.
    name = postgres.database(lived_postgres.place)
    yield from _standing(postgres.url(name), lived_postgres.ids)
    postgres.drop(name)


@pytest.fixture(params=DATABASES)
def standing(request: pytest.FixtureRequest) -> Record:
    """The record that was lived in itself, on each database: what is done to it must be undone."""
    name = "standing_sqlite" if request.param == "sqlite" else "standing_postgres"
    made: Record = request.getfixturevalue(name)
    return made


@pytest.fixture(params=DATABASES)
def record(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Record]:
    """A copy of the record that was lived in, on each database."""
    if request.param == "sqlite":
        lived = request.getfixturevalue("lived_sqlite")
        shutil.copy(lived.place, tmp_path / "copy.db")
        yield from _standing(f"sqlite:///{tmp_path / 'copy.db'}", lived.ids)
        return
    server, lived = request.getfixturevalue("postgres"), request.getfixturevalue("lived_postgres")
    name = server.database(lived.place)
    yield from _standing(server.url(name), lived.ids)
    server.drop(name)


def job(name: str) -> str:
    return f"(SELECT id FROM jobs WHERE name = '{name}')"


def a_job(column: str, value: str, name: str) -> str:
    return f"UPDATE jobs SET {column} = {value} WHERE name = '{name}'"


def a_run(column: str, value: str, name: str, number: int = 1) -> str:
    return f"UPDATE runs SET {column} = {value} WHERE job_pk = {job(name)} AND number = {number}"


def a_shard(column: str, value: str, name: str, number: int = 0) -> str:
    return f"UPDATE shards SET {column} = {value} WHERE job_pk = {job(name)} AND number = {number}"


def an_artifact(column: str, value: str, name: str, kind: str) -> str:
    return f"UPDATE artifacts SET {column} = {value} WHERE job_pk = {job(name)} AND kind = '{kind}'"


def forget_event(name: str, kind: str) -> str:
    return f"DELETE FROM events WHERE job_pk = {job(name)} AND type = '{kind}'"


def another_run(name: str, number: int, state: str) -> str:
    return (
        "INSERT INTO runs (tenant_id, job_pk, number, state, cause, term, opened_at, finished_at) "
        f"SELECT 'default', {job(name)}, {number}, '{state}', cause, 1, 0, finished_at FROM runs "
        f"WHERE job_pk = {job(name)} AND number = 1"
    )


THEIRS = "tenant_id = 'theirs'"
LATER_VERSION = (
    "INSERT INTO model_versions (tenant_id, model_pk, version, recipe, modality, config, tile, job_id, digest, size,"
    " code_version, metrics, card, created_at) SELECT tenant_id, model_pk, {version}, recipe, modality, config, tile,"
    " job_id, digest, size, code_version, metrics, card, created_at FROM model_versions WHERE job_id IS NOT NULL"
)

OF_QUEUED = "WHERE key = 'key of queued'"
OF_BAD = f"job_pk = {job('bad')}"
# law, what it is about (jobs by their names), what was done to it
DAMAGE: list[tuple[str, str, tuple[str, ...]]] = [
    ("reference", "runs.job_pk 999", (a_run("job_pk", "999", "bad"),)),
    ("reference", "jobs.model_version_id 999", (a_job("model_version_id", "999", "half"),)),
    ("tenant", "default/{bad}", (f"UPDATE events SET {THEIRS} WHERE job_pk = {job('bad')}",)),
    ("tenant", "default/{trained}", (f"UPDATE logs SET {THEIRS} WHERE job_pk = {job('trained')}",)),
    ("tenant", "default/{half}", (f"UPDATE shards SET {THEIRS} WHERE job_pk = {job('half')}",)),
    ("tenant", "default/{follows}", (f"UPDATE needs SET {THEIRS} WHERE job_pk = {job('follows')}",)),
    ("leader", "leaders", ("DELETE FROM leaders",)),
    ("identity", "identity", ("INSERT INTO identity (id, incarnation) VALUES (2, 'another-one-of-them')",)),
    ("identity", "identity", ("UPDATE identity SET incarnation = ''",)),
    ("job_state", "default/{queued}", (a_job("state", "'somewhere'", "queued"),)),
    ("job_kind", "default/{queued}", (a_job("kind", "'dream'", "queued"),)),
    ("job_numbers", "default/{queued}", (a_job("workers", "-1", "queued"),)),
    ("job_end", "default/{trained}", (a_job("finished_at", "NULL", "trained"),)),
    ("job_end", "default/{again}", (a_job("finished_at", "5", "again"),)),
    ("job_deadline", "default/{bad}", (a_job("deadline_at", "5", "bad"),)),
    ("job_wish", "default/{held}", (a_job("wish", "'pause'", "held"),)),
    ("job_wish", "default/{again}", (a_job("wish", "'fly'", "again"),)),
    ("job_error", "default/{bad}", (a_job("error_code", "NULL", "bad"),)),
    ("job_error", "default/{trained}", (a_job("error_code", "'user_error'", "trained"),)),
    ("job_stuck", "default/{backs-off}", (a_job("run_at", "NULL", "backs-off"),)),
    ("job_complete", "default/{trained}", (a_job("done", "99", "trained"),)),
    ("job_model", "default/{half}", (a_job("model_version_id", "NULL", "half"),)),
    ("job_model", "default/{half}", (a_job("pool", "NULL", "half"),)),
    ("train_model", "default/{again}", (a_job("model_version_id", "1", "again"),)),
    ("submission_count", "default/key of queued", ('UPDATE submissions SET "count" = 2 ' + OF_QUEUED,)),
    ("submission_count", "default/key of queued", (f"DELETE FROM jobs WHERE id = {job('queued')}",)),
    ("submission_tenant", "default/{bad}", (f"UPDATE submissions SET {THEIRS} WHERE key = 'key of bad'",)),
    ("needs_open", "default/{follows}", (a_job("open_needs", "2", "follows"),)),
    ("needs_open", "default/{held}", (a_job("open_needs", "0", "held"),)),
    ("needs_open", "default/{begun}", (f"INSERT INTO needs VALUES ({job('begun')}, {job('queued')}, 'default')",)),
    ("needs_hopeless", "default/{follows}", (f"INSERT INTO needs VALUES ({job('follows')}, {job('bad')}, 'default')",)),
    ("run_state", "default/{again}", (a_run("state", "'resting'", "again"),)),
    ("run_state", "default/{again}", (a_run("cause", "'weather'", "again"),)),
    ("run_numbers", "default/{again}", (f"DELETE FROM runs WHERE job_pk = {job('again')} AND number = 2",)),
    ("run_numbers", "default/{again}", (a_job("run", "4", "again"),)),
    ("run_numbers", "default/{queued}", (a_job("run", "1", "queued"),)),
    ("run_open", "default/{again}", (a_run("state", "'running'", "again", 2),)),
    ("run_open", "default/{begun}", (a_run("state", "'lost'", "begun"),)),
    ("run_open", "default/{bad}", (a_run("state", "'running'", "bad"),)),
    ("run_open", "default/{bad}", (another_run("bad", 2, "starting"),)),
    ("run_end", "default/{bad}", (a_run("finished_at", "NULL", "bad"),)),
    ("run_end", "default/{bad}", (a_run("cause", "NULL", "bad"),)),
    ("run_end", "default/{begun}", (a_run("finished_at", "5", "begun"),)),
    ("run_of_job", "default/{again}", (a_run("state", "'starting'", "again", 3),)),
    ("run_of_job", "default/{trained}", (a_run("state", "'failed'", "trained"),)),
    ("run_of_job", "default/{bad}", (a_run("state", "'succeeded'", "bad"),)),
    ("run_of_job", "default/{again}", (a_run("state", "'succeeded'", "again", 1),)),
    ("run_term", "default/{again}", (a_run("term", "99", "again"),)),
    ("shard_state", "default/{half}", (a_shard("state", "'lent'", "half"),)),
    ("shard_state", "default/{begun}", (f"UPDATE shards SET job_pk = {job('begun')} WHERE job_pk = {job('made')}",)),
    ("shard_ranges", "default/{half}", (a_shard("start", "63", "half", 1),)),
    ("shard_ranges", "default/{half}", (a_shard("number", "7", "half", 2),)),
    ("shard_ranges", "default/{half}", (a_shard('"count"', "0", "half", 2),)),
    ("shard_total", "default/{half}", (f"DELETE FROM shards WHERE job_pk = {job('half')} AND number = 2",)),
    ("shard_total", "default/{half}", (f"DELETE FROM shards WHERE job_pk = {job('half')}",)),
    ("shard_claim", "default/{half}", (a_shard("run", "2", "half", 1),)),
    ("shard_claim", "default/{half}", (a_shard("claim", "0", "half", 1),)),
    ("shard_claim", "default/{half}", (a_shard("worker", "NULL", "half", 1),)),
    ("shard_claim", "default/{made}", (a_shard("state", "'claimed'", "made", 1),)),
    ("shard_claim", "default/{half}", (a_shard("run", "1", "half", 2),)),
    ("shard_failures", "default/{half}", (a_shard("failures", "2", "half", 1),)),
    ("shard_failures", "default/{half}", (a_shard("state", "'failed'", "half", 1),)),
    ("shard_published", "default/{half}", (a_shard("folder", "'shard-000000.r1.c2'", "half"),)),
    ("shard_published", "default/{half}", (a_shard("folder", "'shard-00000.r1.c1'", "half"),)),
    ("shard_published", "default/{half}", (a_shard("manifest_sha256", "NULL", "half"),)),
    ("shard_published", "default/{half}", (a_shard("published_at", "5", "half", 2),)),
    ("shard_published", "default/{half}", (a_shard("failed_items", "65", "half"),)),
    ("shard_done", "default/{half}", (a_job("done", "128", "half"),)),
    ("shard_done", "default/{half}", (a_shard("state", "'published'", "half", 1),)),
    ("shard_complete", "default/{made}", (a_shard("state", "'pending'", "made", 1),)),
    ("artifact_run", "default/{trained}", (an_artifact("run", "2", "trained", "checkpoint"),)),
    ("artifact_key", "default/{trained}", (an_artifact("key", "'jobs/default/j_other/x'", "trained", "checkpoint"),)),
    ("artifact_key", "default/{made}", (an_artifact("key", "'outputs/default/manifest.jsonl'", "made", "manifest"),)),
    ("manifest_once", "default/{made}", (f"DELETE FROM artifacts WHERE job_pk = {job('made')}",)),
    ("manifest_once", "default/{trained}", (an_artifact("kind", "'manifest'", "trained", "checkpoint"),)),
    ("model_numbers", "default/trained", ("UPDATE model_versions SET version = 2 WHERE job_id IS NOT NULL",)),
    ("model_numbers", "default/trained", (LATER_VERSION.format(version=3),)),
    ("model_once", "default/{trained}", (LATER_VERSION.format(version=2),)),
    ("model_job", "default/trained@1", (a_job("model_version_id", "NULL", "trained"),)),
    ("model_job", "default/trained@1", (a_job("state", "'failed'", "trained"),)),
    ("job_published", "default/{trained}", (a_job("model_version_id", "1", "trained"),)),
    ("model_key", "default/trained@1", ("UPDATE model_versions SET key = 'models/default/eee' WHERE key IS NOT NULL",)),
    ("model_tenant", "default/trained@1", (f"UPDATE model_versions SET {THEIRS} WHERE job_id IS NOT NULL",)),
    ("evaluation_tenant", "default/trained@1", (f"UPDATE evaluations SET {THEIRS}",)),
    ("endpoint_state", "default/digits", ("UPDATE endpoints SET state = 'asleep'",)),
    ("endpoint_state", "default/digits", ("UPDATE endpoints SET max_replicas = 0",)),
    ("history_end", "default/{bad}", (forget_event("bad", "failed"),)),
    ("history_end", "default/{queued}", (forget_event("queued", "submitted"),)),
    ("history_end", "default/{backs-off}", (a_job("state", "'queued'", "backs-off"),)),
    ("history_steps", "default/{trained}", (forget_event("trained", "submitted"),)),
    ("history_steps", "default/{again}", (forget_event("again", "starting"),)),
    ("history_steps", "default/{bad}", (f"UPDATE events SET type = 'submitted' WHERE type = 'starting' AND {OF_BAD}",)),
    ("log_run", "default/{trained}", (f"UPDATE logs SET run = 2 WHERE job_pk = {job('trained')} AND seq = 1",)),
]  # fmt: skip


def test_a_record_with_everything_in_it_is_sound(standing: Record) -> None:
    assert standing.problems() == []


@pytest.mark.parametrize(("law", "about", "done"), DAMAGE, ids=[f"{law}-{n}" for n, (law, *_) in enumerate(DAMAGE)])
def test_damage_is_found_and_named(standing: Record, law: str, about: str, done: tuple[str, ...]) -> None:
    with standing.damaged(*done) as connection:
        found = examine(connection)

    assert (law, about.format(**standing.ids)) in {(p.law, p.about) for p in found}, found
    assert all(p.message and "{" not in p.message for p in found)


def test_every_law_is_broken_here() -> None:
    assert {law.name for law in laws.LAWS} == {law for law, _, _ in DAMAGE}


def test_what_breaks_a_law_a_thousand_times_is_named_a_hundred_times(record: Record) -> None:
    record.damage(
        "UPDATE logs SET tenant_id = 'default'",
        "INSERT INTO needs (job_pk, needs_pk, tenant_id) SELECT a.id * 1000 + b.id, a.id, 'x' FROM jobs a, jobs b",
    )

    found = [p for p in record.problems() if p.law == "reference" and p.about.startswith(("needs.job_pk", "~"))]

    assert len(found) == 101
    assert "more than these 100" in found[-1].message


def test_sqlite_says_what_is_wrong_with_its_file(lived_sqlite: Lived, tmp_path: Path) -> None:
    place = tmp_path / "copy.db"
    shutil.copy(lived_sqlite.place, place)
    with closing(sqlite3.connect(place)) as other:
        root = other.execute("SELECT rootpage FROM sqlite_master WHERE name = 'ix_runs_state'").fetchone()[0]
        size = other.execute("PRAGMA page_size").fetchone()[0]
    with place.open("r+b") as file:
        file.seek((root - 1) * size + 8)
        file.write(b"\xff" * 64)

    found = Record(f"sqlite:///{place}", lived_sqlite.ids).problems()

    assert "file" in {p.law for p in found}


def test_words_in_the_place_of_json_keep_no_other_law_from_being_asked(lived_sqlite: Lived, tmp_path: Path) -> None:
    shutil.copy(lived_sqlite.place, tmp_path / "copy.db")
    record = Record(f"sqlite:///{tmp_path / 'copy.db'}", lived_sqlite.ids)
    record.damage("UPDATE events SET data = '{\"state' WHERE type = 'submitted'", a_job("run", "7", "queued"))

    found = {p.law: p for p in record.problems()}

    assert "cannot be told: malformed JSON" in found["history_end"].message
    assert {"run_numbers", "history_end", "history_steps"} <= set(found)


def test_the_laws_are_asked_of_one_moment(record: Record) -> None:
    """A job that runs on beside them does not look as if it contradicted itself."""
    asked: list[str] = []
    other = Record(record.url, record.ids)

    def write_meanwhile(_: Any, __: Any, statement: str, *___: Any) -> None:
        if not asked and "needed" in statement:
            asked.append(statement)
            other.damage(a_job("run", "9", "queued"), a_job("done", "1", "half"))

    sa.event.listen(record.engine, "before_cursor_execute", write_meanwhile)

    found = record.problems()
    later = record.problems()

    other.engine.dispose()
    assert asked
    assert found == []
    assert {p.law for p in later} >= {"run_numbers", "shard_done"}


def test_tables_of_another_revision_are_not_judged(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url, "0001")
    engine = database.connect(empty_database_url)

    with pytest.raises(errors.SettingsError, match="is at revision 0001") as raised:
        problems(engine)

    engine.dispose()
    assert "genctl db upgrade" in raised.value.hint


def test_a_job_that_was_tried_too_often_is_named(record: Record) -> None:
    more = "INSERT INTO runs (tenant_id, job_pk, number, state, cause, term, opened_at, finished_at) VALUES "
    rows = [f"('default', {job('bad')}, {n}, 'failed', 'user_error', 1, 0, 5)" for n in (2, 3)]
    record.damage(more + ", ".join(rows), a_job("run", "3", "bad"))
    catalog = Catalog(record.url)

    found = [p for p in verify(catalog) if p.law == "tries"]

    catalog.close()
    assert [p.about for p in found] == [f"default/{record.ids['bad']}"]
    assert "2 of its runs had ended by user_error already" in found[0].message
