"""The migrations make the tables that the code speaks of, from nothing, once, whoever else does it at the time."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from genplatform import errors
from genplatform.catalog import Catalog, database, migrate, tables
from genplatform.domain.names import ModelRef

UPGRADE = """
import sys
from genplatform.catalog import database, migrate
migrate.head()
database.connect(sys.argv[1]).connect().close()
print("ready", flush=True)
sys.stdin.readline()
migrate.upgrade(sys.argv[1])
"""


def execute(url: str, statement: str) -> None:
    engine = database.connect(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()


def versions_of_noise(url: str) -> int:
    catalog = Catalog(url)
    with catalog.read() as tx:
        found = [v for v in tx.models.all("default") if v.name == "noise"]
    catalog.close()
    return len(found)


def test_an_upgrade_from_nothing_reaches_the_newest_revision_and_a_second_changes_nothing(empty_database_url):
    reached = migrate.upgrade(empty_database_url)
    again = migrate.upgrade(empty_database_url)

    assert reached == migrate.Upgraded(None, migrate.head())
    assert again == migrate.Upgraded(migrate.head(), migrate.head())
    assert versions_of_noise(empty_database_url) == 1
    Catalog(empty_database_url).check()


def test_the_migrated_tables_are_the_tables_of_the_code(catalog):
    with catalog.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, tables.metadata)

    assert differences == []


INDEXES = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL",
    "postgresql": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
}


def indexes(url: str) -> dict[str, str]:
    """Return what each index of a database is made of, in the database's own words."""
    engine = database.connect(url)
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(INDEXES[engine.dialect.name]).all()
    engine.dispose()
    plain = str.maketrans("", "", '"()')
    words = {name: made.translate(plain).replace("jobs.", "").replace("public.", "").split() for name, made in rows}
    return {name: " ".join(made) for name, made in words.items() if name != "alembic_version_pkc"}


def test_the_migrated_indexes_are_those_of_the_code_to_the_last_condition(catalog_url):
    migrated = indexes(catalog_url)

    engine = database.connect(catalog_url)
    tables.metadata.drop_all(engine)
    tables.metadata.create_all(engine)
    engine.dispose()

    assert migrated == indexes(catalog_url)
    assert "WHERE" in migrated["ix_jobs_state_run_at"]


COLLATIONS = (
    "SELECT table_name, column_name, collation_name FROM information_schema.columns"
    " WHERE table_schema = 'public' AND data_type = 'character varying' AND table_name <> 'alembic_version'"
)


def test_ids_and_names_sort_by_code_point_on_a_postgresql_of_any_language(postgres_url, empty_postgres_url):
    engine, of_the_code = database.connect(postgres_url), database.connect(empty_postgres_url)
    tables.metadata.create_all(of_the_code)
    with engine.connect() as connection, of_the_code.connect() as other:
        migrated = set(connection.exec_driver_sql(COLLATIONS).all())
        made = set(other.exec_driver_sql(COLLATIONS).all())
    engine.dispose()
    of_the_code.dispose()

    assert ("jobs", "job_id", "C") in migrated
    assert {row.collation_name for row in migrated} == {"C"}
    assert made == migrated


def test_every_table_and_every_unique_key_of_names_knows_its_tenant():
    without = {name for name, table in tables.metadata.tables.items() if "tenant_id" not in table.c}
    uniques = {
        frozenset(c.name for c in constraint.columns)
        for table in tables.metadata.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, sa.UniqueConstraint)
    }

    assert without == {"leaders", "identity"}  # the dispatcher leads for every tenant, and the record is everyone's
    assert all("tenant_id" in columns or {"job_pk", "model_pk"} & columns for columns in uniques)


def test_processes_that_upgrade_at_once_make_one_catalog(empty_database_url):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", UPGRADE, empty_database_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    ready = [process.stdout.readline() for process in processes]
    for process in processes:
        process.stdin.write("now\n")
        process.stdin.flush()
    said = [process.communicate()[1] for process in processes]

    assert ready == ["ready\n"] * 2
    assert [p.returncode for p in processes] == [0, 0], said
    assert versions_of_noise(empty_database_url) == 1


def test_every_catalog_has_noise_1_with_the_digest_that_its_rule_gives(catalog):
    identity = '{"config":{"channels":1,"height":8,"width":8},"recipe":"noise","weights":null}'

    with catalog.read() as tx:
        noise = tx.models.find("default", ModelRef("noise", version=1))

    assert noise is not None
    assert noise.digest == hashlib.sha256(identity.encode()).hexdigest()
    assert (noise.recipe, noise.modality, noise.tile) == ("noise", "image", 64)
    assert noise.config == {"height": 8, "width": 8, "channels": 1}
    assert (noise.job_id, noise.key, noise.parent, noise.size) == (None, None, None, 0)
    assert noise.newest is True


def test_a_database_without_our_tables_says_how_to_make_them(empty_database_url):
    catalog = Catalog(empty_database_url)

    with pytest.raises(errors.Unavailable) as raised:
        catalog.check()

    catalog.close()
    assert "genctl up" in raised.value.hint


def test_a_database_of_a_newer_genctl_is_left_alone_and_said_so(catalog_url):
    execute(catalog_url, "UPDATE alembic_version SET version_num = 'zzzz'")

    with pytest.raises(errors.SettingsError, match="zzzz") as raised:
        migrate.upgrade(catalog_url)

    assert "newer genctl" in raised.value.hint
