"""Connections and transactions: SQLite (WAL, synchronous=FULL) or PostgreSQL, one code path.

A write on SQLite takes the write lock at its start (BEGIN IMMEDIATE): a transaction that
reads first and writes later would otherwise fail at random when another process wrote between.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, NoSuchModuleError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from genplatform.errors import SettingsError, Unavailable

BUSY_SECONDS = 15.0
CHECK_SECONDS = 2.0
POOL_SECONDS = 30.0
# The most connections one process opens, and how many of them it keeps open.
CONNECTIONS = 40
KEPT_CONNECTIONS = 10
# How our sessions are known among those of a PostgreSQL.
APPLICATION = "genctl"

URL_HINT = "Set GENCTL_DATABASE_URL to sqlite:///PATH or postgresql://USER@HOST/NAME (pip install 'genctl[postgres]')."
UPGRADE_HINT = "Run `genctl db upgrade` (or `genctl up`) to make the tables."
# PostgreSQL's words for a missing table, column and database.
MISSING_TABLES = ("42P01", "42703")
MISSING_DATABASE = "3D000"


def shown(url: URL) -> str:
    """Return the URL as it may be shown: without its passwords."""
    return url.difference_update_query(["password", "sslpassword"]).render_as_string(hide_password=True)


def shown_url(url: str) -> str:
    """Return a SQLAlchemy URL as it may be shown; raises SettingsError for one that cannot be used."""
    return shown(_parse(url))


def file_of(url: str) -> Path | None:
    """Return the file of an SQLite database, None for another; raises SettingsError for an unusable URL."""
    parsed = _parse(url)
    return Path(str(parsed.database)).absolute() if parsed.get_backend_name() == "sqlite" else None


def missing_file(url: str) -> Path | None:
    """Return the file of an SQLite database that is not there: connecting would make it."""
    file = file_of(url)
    return file if file is not None and not file.exists() else None


def connect(
    url: str,
    *,
    busy_seconds: float = BUSY_SECONDS,
    connections: int = CONNECTIONS,
    pool_seconds: float = POOL_SECONDS,
) -> sa.Engine:
    """Return an engine for a SQLAlchemy URL; raises SettingsError for one that cannot be used.

    `busy_seconds` is how long a write waits for SQLite's lock, `pool_seconds` how long a
    transaction waits for one of this process's `connections`.
    """
    parsed = _parse(url)
    kept = min(connections, KEPT_CONNECTIONS)
    pool = {"pool_size": kept, "max_overflow": connections - kept, "pool_timeout": pool_seconds}
    try:
        if parsed.get_backend_name() == "sqlite":
            return _sqlite(parsed, busy_seconds, pool)
        named = {"application_name": APPLICATION}
        return sa.create_engine(parsed, pool_pre_ping=True, connect_args=named, **pool)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise SettingsError(f"The database URL cannot be used: {error}.", URL_HINT) from error


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise SettingsError("The database URL cannot be used: it is not a URL.", URL_HINT) from error
    except ValueError:
        # Not chained: the text that is no number may be a piece of a password.
        raise SettingsError("The database URL cannot be used: its port is not a number.", URL_HINT) from None
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    backend = parsed.get_backend_name()
    if backend not in ("sqlite", "postgresql"):
        raise SettingsError(f"The database URL cannot be used: {backend} is not supported.", URL_HINT)
    if "@" in (parsed.host or ""):
        hint = "Write '@', ':' and '/' in a password as %40, %3A and %2F. " + URL_HINT
        raise SettingsError("The database URL cannot be used: it has more than one '@'.", hint)
    if backend == "sqlite" and parsed.database in (None, "", ":memory:"):
        # Each connection would see another, empty database.
        raise SettingsError("The database URL cannot be used: a catalog cannot live in memory.", URL_HINT)
    return parsed


def _sqlite(url: URL, busy_seconds: float, pool: dict[str, Any]) -> sa.Engine:
    arguments = {"timeout": busy_seconds, "check_same_thread": False}
    options = {"genctl_busy_seconds": busy_seconds}
    engine = sa.create_engine(url, connect_args=arguments, execution_options=options, **pool)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, below
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "do_connect")
    def _open(_dialect: Any, _record: Any, arguments: list[str], _options: Any) -> None:
        # SQLite would open it to read alone, and that connection could never write, whatever becomes of the disk.
        path = Path(arguments[0])
        if path.exists() and not os.access(path, os.W_OK):
            raise sqlite3.OperationalError("attempt to write a readonly database")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        mode = connection.get_execution_options().get("genctl_begin", "IMMEDIATE")
        connection.exec_driver_sql(f"BEGIN {mode}")

    return engine


@contextmanager
def transaction(engine: sa.Engine, *, write: bool, snapshot: bool = False) -> Iterator[Connection]:
    """Open one transaction; commit at the end, roll back on an error.

    With `snapshot` all that it reads is of one moment, its first, as it always is on SQLite; it cannot write.
    Raises Unavailable when the database cannot be reached, stays locked or lacks our tables.
    """
    options: dict[str, Any] = {} if write else {"genctl_begin": "DEFERRED"}
    if snapshot and engine.dialect.name == "postgresql":
        options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    try:
        with engine.connect().execution_options(**options) as connection, connection.begin():
            yield connection
    except PoolTimeout as error:
        message = f"All of this process's connections to the catalog at {shown(engine.url)} are in use."
        raise Unavailable(message, "Try again; if it stays so, ask for less at a time.") from error
    except DBAPIError as error:
        if not _is_of_the_surroundings(error):
            raise
        raise _unavailable(engine, error) from error


def _is_of_the_surroundings(error: DBAPIError) -> bool:
    """Tell an error of the database's state or way from one of what we asked."""
    return (
        isinstance(error, OperationalError)
        or error.connection_invalidated
        or error.statement is None  # it came while connecting
        or type(error) is DatabaseError  # SQLite's word for a damaged file
        or _sqlstate(error) in MISSING_TABLES
    )


def _sqlstate(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)


def _unavailable(engine: sa.Engine, error: DBAPIError) -> Unavailable:
    said = str(error.orig).strip()
    cause = said.splitlines()[0] if said else type(error.orig).__name__
    hint = "Check that the database is up and that this user may write there, then try again."
    if engine.dialect.name == "sqlite" and "locked" in cause:
        seconds = engine.get_execution_options()["genctl_busy_seconds"]
        hint = f"Another process has held the database's write lock for {seconds:g} s; end it, then try again."
    elif engine.dialect.name == "sqlite" and "is full" in cause:
        hint = f"Free some space on the disk of {engine.url.database}, then try again."
    elif engine.dialect.name == "sqlite" and "readonly" in cause:
        hint = f"Let this user write {engine.url.database} (is its disk mounted read-only?), then try again."
    elif "malformed" in cause or "not a database" in cause:
        hint = f"The file {engine.url.database} is damaged: move it away and restore a backup (genctl db restore)."
    elif "no such table" in cause or "no such column" in cause or _sqlstate(error) in MISSING_TABLES:
        hint = UPGRADE_HINT
    elif _sqlstate(error) == MISSING_DATABASE or f'database "{engine.url.database}" does not exist' in said:
        hint = "Make it with PostgreSQL's `createdb`, or set GENCTL_DATABASE_URL to one that exists."
    return Unavailable(f"The catalog at {shown(engine.url)} cannot be used now: {cause}.", hint)
