"""Back the record up: one moment of it, whole, into one file, while the platform goes on.

What is read is what one read-only transaction sees. What artifacts consist of is not in it: the
record only says where they lie.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from genplatform import __version__
from genplatform.catalog import database, migrate
from genplatform.catalog.backup_file import Header, Part, Writer
from genplatform.catalog.tables import artifacts, metadata, model_versions, shards
from genplatform.domain.states import ShardState
from genplatform.errors import Conflict, Unavailable

PAGE = 1000


@dataclass(frozen=True)
class BackedUp:
    """What a backup holds, how large it is, and what it leaves where it is."""

    header: Header
    size: int
    objects_left: int
    bytes_left: int


def backup(engine: sa.Engine, path: Path, now: float) -> BackedUp:
    """Write a backup to `path`, which appears whole, durable and readable by its owner alone, or not at all.

    Raises Conflict when it exists, Unavailable when it cannot be written or the database not be read.
    """
    if os.path.lexists(path):
        raise Conflict(f"{path} exists already.", "Give the name of a file that is not there yet.")
    with _staged(path) as out, database.transaction(engine, write=False, snapshot=True) as connection:
        tables = reflected(connection)
        header = _header(connection, tables, now)
        left = _left(connection)
        writer = Writer(out, header)
        for part in header.tables:
            for row in _rows(connection, tables[part.name]):
                writer.row(list(row))
        writer.end()
    return BackedUp(header, path.stat().st_size, *left)


def reflected(connection: Connection) -> dict[str, sa.Table]:
    """Return our tables as the database itself has them, of whatever revision, those first that others refer to."""
    found = sa.MetaData()
    there = set(sa.inspect(connection).get_table_names())
    found.reflect(connection, only=[name for name in metadata.tables if name in there])
    return {table.name: table for table in found.sorted_tables}


def _header(connection: Connection, tables: dict[str, sa.Table], now: float) -> Header:
    revision = migrate.revision(connection)
    if revision is None or not tables:
        raise Unavailable(
            f"The catalog at {database.shown(connection.engine.url)} has no tables yet.", database.UPGRADE_HINT
        )
    identity = tables.get("identity")
    incarnation = "" if identity is None else connection.execute(sa.select(identity.c.incarnation)).scalar_one()
    parts = tuple(
        Part(
            table.name,
            tuple(table.columns.keys()),
            connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one(),
        )
        for table in tables.values()
    )
    return Header(revision, now, incarnation, __version__, parts)


def _rows(connection: Connection, table: sa.Table) -> Iterator[sa.Row[*tuple[Any, ...]]]:
    query = sa.select(table).order_by(*table.primary_key.columns)
    # A page at a time, on PostgreSQL by a cursor of the server's: memory stays flat.
    yield from connection.execution_options(yield_per=PAGE).execute(query)


def _left(connection: Connection) -> tuple[int, int]:
    """Return how many objects and folders the record refers to in the store, and how many bytes they have."""
    published = sa.select(shards.c.size).where(shards.c.state == ShardState.PUBLISHED.value)
    kept = sa.select(model_versions.c.size).where(model_versions.c.key.is_not(None))
    sizes = sa.union_all(sa.select(artifacts.c.size), published, kept).subquery()
    count, total = connection.execute(sa.select(sa.func.count(), sa.func.sum(sizes.c.size)).select_from(sizes)).one()
    return int(count), int(total or 0)


@contextmanager
def _staged(path: Path) -> Iterator[BinaryIO]:
    """Open a file beside `path` that only its owner can read, and give it that name once it is whole and durable."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        staged = Path(name)
        try:
            with os.fdopen(handle, "wb") as out:
                yield out
                out.flush()
                os.fsync(out.fileno())
            staged.replace(path)
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        finally:
            with suppress(FileNotFoundError):
                staged.unlink()
    except OSError as error:
        raise Unavailable(
            f"The backup {path} cannot be written: {error.strerror}.", "Give a file in a folder with room."
        ) from error
