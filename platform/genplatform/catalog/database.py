"""Connections and transactions: SQLite (WAL, synchronous=FULL) or PostgreSQL, one code path.

A write on SQLite takes the write lock at its start (BEGIN IMMEDIATE): a transaction that
reads first and writes later would otherwise fail at random when another process wrote between.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError
from sqlalchemy.pool import StaticPool

from genplatform.errors import SettingsError, Unavailable

BUSY_SECONDS = 15


def shown(url: str) -> str:
    """Return the URL as it may be shown: without its password."""
    return make_url(url).render_as_string(hide_password=True)


def connect(url: str) -> sa.Engine:
    """Return an engine for a SQLAlchemy URL; raises SettingsError for one that cannot be used."""
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            return _sqlite(url)
        if parsed.drivername in ("postgresql", "postgres"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        return sa.create_engine(parsed, pool_pre_ping=True, pool_size=10, max_overflow=30)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise SettingsError(
            f"The database URL cannot be used: {error}.",
            "Set GENCTL_DATABASE_URL to sqlite:///PATH or postgresql://USER@HOST/NAME (pip install 'genctl[postgres]').",
        ) from error


def _sqlite(url: str) -> sa.Engine:
    arguments: dict[str, Any] = {"connect_args": {"timeout": BUSY_SECONDS, "check_same_thread": False}}
    if make_url(url).database in (None, "", ":memory:"):
        arguments["poolclass"] = StaticPool  # one connection: a second one would see another, empty database
    else:
        arguments |= {"pool_size": 10, "max_overflow": 30}
    engine = sa.create_engine(url, **arguments)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, below
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        mode = connection.get_execution_options().get("genctl_begin", "IMMEDIATE")
        connection.exec_driver_sql(f"BEGIN {mode}")

    return engine


@contextmanager
def transaction(engine: sa.Engine, *, write: bool) -> Iterator[Connection]:
    """Open one transaction; commit at the end, roll back on an error.

    Raises Unavailable when the database cannot be reached or stays locked.
    """
    options = {} if write else {"genctl_begin": "DEFERRED"}
    try:
        with engine.connect().execution_options(**options) as connection, connection.begin():
            yield connection
    except OperationalError as error:
        raise _unavailable(engine, error) from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise _unavailable(engine, error) from error
        raise


def _unavailable(engine: sa.Engine, error: DBAPIError) -> Unavailable:
    url = engine.url.render_as_string(hide_password=True)
    cause = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__
    hint = "Check that the database is up and that this user may write there, then try again."
    if "locked" in cause:
        hint = f"Another process has held the database's write lock for {BUSY_SECONDS} s; end it, then try again."
    elif "no such table" in cause or "does not exist" in cause:
        hint = "Run `genctl db upgrade` (or `genctl up`) to make the tables."
    return Unavailable(f"The catalog at {url} cannot be used now: {cause}.", hint)
