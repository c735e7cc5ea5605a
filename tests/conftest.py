"""Fixtures that several rooms share: the catalog's databases, fresh for each test, and the session's platform."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from lent_databases import LentDatabases
from postgres import PostgresServer
from whole_platform import DIGITS, WholePlatform

from genplatform.catalog import Catalog, migrate

# How long one example takes is no assertion of ours.
hypothesis.settings.register_profile("genctl", deadline=None)
hypothesis.settings.load_profile("genctl")

DATABASES = ("sqlite", "postgresql")
SOAK_SECONDS = 60


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the options of the soak; here, because pytest reads those of inner folders too late."""
    parser.addoption("--soak-seconds", type=int, default=SOAK_SECONDS, help="how long tests/soak soaks")
    parser.addoption("--soak-seed", type=int, default=0, help="repeat what a soak drew by chance")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The session's PostgreSQL, started at the first use."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_postgres(postgres: PostgresServer) -> str:
    """The name of a database with our tables, to copy."""
    name = postgres.database()
    migrate.upgrade(postgres.url(name))
    return name


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with our tables, to copy."""
    path = tmp_path_factory.mktemp("migrated") / "catalog.db"
    migrate.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def empty_postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """A fresh PostgreSQL database with nothing in it."""
    name = postgres.database()
    yield postgres.url(name)
    postgres.drop(name)


@pytest.fixture(scope="session")
def lent_databases(postgres: PostgresServer, migrated_postgres: str) -> LentDatabases:
    """The session's databases with our tables."""
    return LentDatabases(postgres, migrated_postgres)


@pytest.fixture
def postgres_url(postgres: PostgresServer, lent_databases: LentDatabases) -> Iterator[str]:
    """A PostgreSQL database with our tables, as fresh."""
    name = lent_databases.lend()
    yield postgres.url(name)
    lent_databases.take_back(name)


@pytest.fixture
def empty_sqlite_url(tmp_path: Path) -> str:
    """A fresh SQLite database with nothing in it."""
    return f"sqlite:///{tmp_path / 'catalog.db'}"


@pytest.fixture
def sqlite_url(empty_sqlite_url: str, migrated_sqlite: Path, tmp_path: Path) -> str:
    """A fresh SQLite database with our tables."""
    shutil.copy(migrated_sqlite, tmp_path / "catalog.db")
    return empty_sqlite_url


@pytest.fixture(params=DATABASES)
def empty_database_url(request: pytest.FixtureRequest) -> str:
    """A database with nothing in it, on each of the two."""
    return str(request.getfixturevalue("empty_sqlite_url" if request.param == "sqlite" else "empty_postgres_url"))


@pytest.fixture(params=DATABASES)
def catalog_url(request: pytest.FixtureRequest) -> str:
    """A fresh database with our tables, on each of the two."""
    return str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url"))


@pytest.fixture
def catalog(catalog_url: str) -> Iterator[Catalog]:
    """The catalog in a fresh database, on each of the two."""
    made = Catalog(catalog_url)
    yield made
    made.close()


@pytest.fixture(scope="session")
def platform() -> Iterator[WholePlatform]:
    """The session's whole platform: one for all tests marked so, each with jobs of its own names."""
    made = WholePlatform()
    try:
        made.up()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="session")
def road(platform: WholePlatform) -> dict[str, Any]:
    """The jobs of examples/digits.yaml, finished: `train` and `generate`."""
    submitted = platform.json("submit", str(DIGITS))["jobs"]
    train, generate = (platform.finished(job["id"], 400) for job in submitted)
    assert (train["state"], generate["state"]) == ("succeeded", "succeeded"), (train, generate, platform.logs())
    return {"train": train, "generate": generate}
