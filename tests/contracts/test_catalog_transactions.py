"""A transaction is all or nothing, and what is wrong with the database is said in one clear error."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from postgres import PostgresServer
from psycopg import sql
from records import NOW, a_job
from together import together

from genplatform import errors
from genplatform.catalog import Catalog, database, migrate

PASSWORD = "hunter2-hunter2"


def everything_said(error: BaseException) -> str:
    """What a log or a terminal would show of an error and of those that led to it."""
    said = []
    cause: BaseException | None = error
    while cause is not None:
        said.append(f"{type(cause).__name__} {cause} {getattr(cause, 'hint', '')} {vars(cause)}")
        cause = cause.__cause__ or cause.__context__
    return "\n".join(said)


def test_a_transaction_that_raises_leaves_nothing(catalog):
    def fail() -> None:
        with catalog.write() as tx:
            job_pk = a_job(tx)
            tx.events.add("default", job_pk, NOW, "submitted", {})
            tx.submissions.add("default", "key", "d" * 64, 1, NOW)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    with catalog.read() as tx:
        assert tx.jobs.by_id("default", "j_aaaaaaaaaa") is None
        assert tx.submissions.find("default", "key") is None


def test_a_transaction_is_seen_by_others_only_when_it_is_over(catalog):
    with catalog.write() as tx:
        a_job(tx)
        with catalog.read() as other:
            during = other.jobs.by_id("default", "j_aaaaaaaaaa")
    with catalog.read() as tx:
        after = tx.jobs.by_id("default", "j_aaaaaaaaaa")

    assert during is None
    assert after is not None


def test_reading_goes_on_while_a_write_is_open_and_would_not_wait_for_it(sqlite_url):
    catalog = Catalog(sqlite_url, busy_seconds=0)

    with catalog.write() as tx:
        a_job(tx)
        with catalog.read() as reader:
            names = reader.models.names("default")

    catalog.close()
    assert names == ["noise"]


def test_a_read_sees_one_moment_while_others_write(sqlite_url):
    catalog = Catalog(sqlite_url)

    with catalog.read() as reader:
        before = reader.jobs.by_id("default", "j_aaaaaaaaaa")
        with catalog.write() as tx:
            a_job(tx)
        after = reader.jobs.by_id("default", "j_aaaaaaaaaa")

    catalog.close()
    assert before is after is None


def test_sqlite_keeps_what_it_said_through_a_power_cut(sqlite_url):
    catalog = Catalog(sqlite_url)
    with catalog.engine.connect() as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    catalog.close()

    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}  # 2 is FULL


def test_sqlite_locked_by_another_process_is_unavailable_and_says_so(sqlite_url, tmp_path: Path):
    catalog = Catalog(sqlite_url, busy_seconds=0)

    with closing(sqlite3.connect(tmp_path / "catalog.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(errors.Unavailable, match="locked") as raised, catalog.write() as tx:
            a_job(tx)
        other.execute("ROLLBACK")
    with catalog.write() as tx:
        a_job(tx)

    catalog.close()
    assert "Another process" in raised.value.hint
    assert "0 s" in raised.value.hint


def test_a_check_tells_that_no_write_is_possible_although_reading_is(sqlite_url, tmp_path: Path):
    catalog = Catalog(sqlite_url, busy_seconds=0)

    with closing(sqlite3.connect(tmp_path / "catalog.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(errors.Unavailable, match="locked"):
            catalog.check()
        with catalog.read() as tx:
            names = tx.models.names("default")
        other.execute("ROLLBACK")
    catalog.check()

    catalog.close()
    assert names == ["noise"]


def test_a_damaged_sqlite_file_is_unavailable_and_says_so(tmp_path: Path):
    (tmp_path / "catalog.db").write_bytes(b"this is no database" * 100)
    catalog = Catalog(f"sqlite:///{tmp_path / 'catalog.db'}")

    with pytest.raises(errors.Unavailable, match="not a database") as raised:
        catalog.check()

    catalog.close()
    assert "genctl db restore" in raised.value.hint


def test_a_sqlite_file_in_no_folder_is_unavailable(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'nowhere' / 'catalog.db'}"

    with pytest.raises(errors.Unavailable, match="unable to open"):
        migrate.upgrade(url)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_catalog_in_memory_is_refused_for_no_two_connections_would_share_it(url):
    with pytest.raises(errors.SettingsError, match="memory"):
        Catalog(url)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://someone:{PASSWORD}@/genctl?host=FOLDER",
        f"postgresql://someone@/genctl?host=FOLDER&password={PASSWORD}",
    ],
)
def test_a_server_nobody_answers_at_is_unavailable_and_the_password_is_not_shown(url, tmp_path: Path):
    catalog = Catalog(url.replace("FOLDER", str(tmp_path)))

    with pytest.raises(errors.Unavailable) as raised, catalog.read():
        pass

    catalog.close()
    assert PASSWORD not in everything_said(raised.value)
    assert "someone" in raised.value.message


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://someone:{PASSWORD}@host:port/genctl",
        f"postgresql://someone:x@{PASSWORD}@host/genctl",
        f"postgresql:/someone:{PASSWORD}@host/genctl",
        f"nosuchdatabase://someone:{PASSWORD}@host/genctl",
        f"postgresql+nosuchdriver://someone:{PASSWORD}@host/genctl",
        f"mysql://someone:{PASSWORD}@host/genctl",
        "",
    ],
)
def test_a_url_that_cannot_be_used_is_a_settings_error_without_the_password(url):
    with pytest.raises(errors.SettingsError, match="database URL") as raised:
        Catalog(url)

    assert PASSWORD not in everything_said(raised.value)
    assert "GENCTL_DATABASE_URL" in raised.value.hint


def test_an_option_that_the_driver_does_not_know_is_unavailable_and_named(postgres_url):
    catalog = Catalog(postgres_url.replace("postgres@", f"postgres:{PASSWORD}@") + "&nonsense=1")

    with pytest.raises(errors.Unavailable, match="nonsense") as raised:
        catalog.check()

    catalog.close()
    assert PASSWORD not in everything_said(raised.value)


def test_a_database_that_does_not_exist_is_named(postgres: PostgresServer):
    catalog = Catalog(postgres.url("nowhere"))

    with pytest.raises(errors.Unavailable, match="nowhere") as raised:
        catalog.check()

    catalog.close()
    assert "createdb" in raised.value.hint


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_the_usual_spellings_of_a_postgresql_url_are_taken(postgres_url, scheme):
    catalog = Catalog(postgres_url.replace("postgresql", scheme, 1))

    catalog.check()

    catalog.close()


def test_a_server_that_drops_us_is_unavailable_and_the_next_transaction_works(postgres, postgres_url):
    catalog = Catalog(postgres_url)

    def be_dropped() -> None:
        with catalog.write() as tx:
            a_job(tx)
            drop = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {}"
            postgres.execute(sql.SQL(drop).format(sql.Literal(catalog.engine.url.database)))
            a_job(tx, "j_bbbbbbbbbb")

    with pytest.raises(errors.Unavailable):
        be_dropped()
    with catalog.write() as tx:
        lost = tx.jobs.by_id("default", "j_aaaaaaaaaa")
        a_job(tx, "j_cccccccccc")

    catalog.close()
    assert lost is None


def test_no_connection_left_is_unavailable(catalog_url):
    engine = database.connect(catalog_url, connections=1, pool_seconds=0)

    with (
        database.transaction(engine, write=False),
        pytest.raises(errors.Unavailable, match="connections"),
        database.transaction(engine, write=False),
    ):
        pass

    engine.dispose()


def test_many_threads_write_and_none_is_turned_away(catalog):
    def add(number: int) -> None:
        with catalog.write() as tx:
            a_job(tx, f"j_{number:010d}")

    together([lambda n=n: add(n) for n in range(20)])

    with catalog.read() as tx:
        assert len(tx.jobs.by_prefix("default", "j_", 100)) == 20


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b"], ids=["NUL", "surrogate"])
def test_text_that_no_database_takes_is_kept_with_a_mark_in_its_place(catalog, text):
    with catalog.write() as tx:
        job_pk = a_job(tx, error_message=text, labels={text: text}, spec={"deep": [{"x": text}]})
        tx.events.add("default", job_pk, NOW, "metrics", {"note": text})
        line = {"tenant_id": "default", "job_pk": job_pk, "run": 1, "seq": 1, "time": NOW, "text": text}
        tx.events.add_logs([line])
    with catalog.read() as tx:
        job = tx.jobs.get(job_pk)
        event = tx.events.page(job_pk, after=0, limit=10)[0]
        log = tx.events.log_page(job_pk, run=None, after=0, since=None, tail=None, limit=10)[0]
        nobody = tx.jobs.by_name("default", text)

    marked = "a\ufffdb"
    assert job.error_message == log.text == marked
    assert job.labels == {marked: marked}
    assert job.spec == {"deep": [{"x": marked}]}
    assert event.data == {"note": marked}
    assert nobody is None


def test_numbers_that_json_does_not_know_are_kept_as_none(catalog):
    values = {"loss": float("nan"), "rates": [float("inf"), (float("-inf"), 1.5)], "steps": 2**62}

    with catalog.write() as tx:
        job_pk = a_job(tx)
        tx.events.add("default", job_pk, NOW, "metrics", values)
    with catalog.read() as tx:
        data = tx.events.page(job_pk, after=0, limit=10)[0].data

    assert data == {"loss": None, "rates": [None, [None, 1.5]], "steps": 2**62}
