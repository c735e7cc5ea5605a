"""New rows, one or a hundred thousand, as fast as each database takes them.

JSON columns are given as text that is JSON already. One row goes as one statement; many go past
SQLAlchemy, which would look at every value of every row: to SQLite as one prepared statement, to
PostgreSQL as one COPY.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import islice
from operator import itemgetter
from typing import Any, NoReturn

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Connection

from genplatform.catalog.columns import Json, Short, Text, clean_text

Row = Sequence[Any]

# Rows that are handed to SQLite at once: few enough to hold, enough not to be felt.
AT_ONCE = 2000
# So much of SQLite's file is held while many rows are added, in KiB: their places in its indexes lie far apart.
HELD_KIB = 64 << 10


def add_one(db: Connection, table: sa.Table, columns: Sequence[str], row: Row) -> int:
    """Add one row; returns its inside key."""
    (clean,) = _cleaned(table, tuple(columns), [row])
    statement = _insert(table, tuple(columns), db.dialect.name)
    return int(db.execute(statement, dict(zip(columns, clean, strict=True))).scalar_one())


def add_many(db: Connection, table: sa.Table, columns: Sequence[str], rows: Iterable[Row]) -> None:
    """Add rows, taken one by one as they can be sent."""
    clean = _cleaned(table, tuple(columns), rows)
    if takes_streams(db.dialect):
        with _copying(db, table, columns) as send:
            for row in clean:
                send(row)
        return
    statement = str(sa.insert(table).values({name: sa.bindparam(name) for name in columns}).compile(dialect=db.dialect))
    # The statement names the columns in the table's order.
    in_order = itemgetter(*(columns.index(column.name) for column in table.c if column.name in columns))
    usual = db.exec_driver_sql("PRAGMA cache_size").scalar_one()
    db.exec_driver_sql(f"PRAGMA cache_size = {-HELD_KIB}")
    try:
        while batch := [in_order(row) for row in islice(clean, AT_ONCE)]:
            db.exec_driver_sql(statement, batch)
    finally:
        db.exec_driver_sql(f"PRAGMA cache_size = {usual}")


def takes_streams(dialect: sa.Dialect) -> bool:
    """Tell whether a database takes in rows while others are still being made, as `stream` sends them."""
    return dialect.name == "postgresql"


@contextmanager
def stream(db: Connection, table: sa.Table, columns: Sequence[str]) -> Iterator[Callable[[Row], None]]:
    """Give what sends one row; the server is at work on it while the next is made. They are all there at the end.

    Nothing else may be asked of the connection meanwhile. The table gives the inside keys.
    """
    cleaned = _cleaner(table, tuple(columns))
    with _copying(db, table, columns) as send:
        yield lambda row: send(cleaned(row))


def new_keys(db: Connection, table: sa.Table, count: int) -> Sequence[int]:
    """Return inside keys for rows that this transaction will add, ascending."""
    if db.dialect.name == "postgresql":
        sequence = sa.func.pg_get_serial_sequence(table.name, "id")
        query = sa.select(sa.func.nextval(sequence)).select_from(sa.func.generate_series(1, count).table_valued())
        return [row[0] for row in db.execute(query)]
    # Nobody else writes while this transaction does.
    last = db.execute(sa.select(sa.func.coalesce(sa.func.max(table.c.id), 0))).scalar_one()
    return range(last + 1, last + 1 + count)


@cache
def _insert(table: sa.Table, columns: tuple[str, ...], dialect: str) -> sa.sql.dml.ReturningInsert[Any]:
    """Return the statement that adds one row, made once."""
    values: dict[str, Any] = {}
    for name in columns:
        is_json = isinstance(table.c[name].type, Json)
        given = sa.bindparam(name, type_=sa.Text() if is_json else table.c[name].type)
        values[name] = sa.cast(given, postgresql.JSONB) if is_json and dialect == "postgresql" else given
    return sa.insert(table).values(values).returning(table.c.id)


@contextmanager
def _copying(db: Connection, table: sa.Table, columns: Sequence[str]) -> Iterator[Callable[[Row], None]]:
    quoted = db.dialect.identifier_preparer.quote
    statement = f"COPY {quoted(table.name)} ({', '.join(map(quoted, columns))}) FROM STDIN"
    errors = db.dialect.loaded_dbapi.Error
    try:
        with db.connection.cursor() as cursor, cursor.copy(statement) as copy:  # type: ignore[attr-defined]
            yield copy.write_row
    except errors as error:
        _raise(db, statement, error)


def _raise(db: Connection, statement: str, error: Exception) -> NoReturn:
    """Raise a driver's error as SQLAlchemy would have; a connection that broke is not used again."""
    broken = db.dialect.is_disconnect(error, None, None)  # type: ignore[arg-type]
    if broken:
        db.invalidate(error)
    raise sa.exc.DBAPIError.instance(
        statement,
        None,
        error,
        db.dialect.loaded_dbapi.Error,
        hide_parameters=True,
        connection_invalidated=broken,
        dialect=db.dialect,
    ) from error


def _cleaned(table: sa.Table, columns: tuple[str, ...], rows: Iterable[Row]) -> Iterator[Row]:
    return map(_cleaner(table, columns), rows)


def _cleaner(table: sa.Table, columns: tuple[str, ...]) -> Callable[[Row], Row]:
    """Return what gives a row back with a mark in place of every character that a database refuses."""
    texts = [i for i, name in enumerate(columns) if isinstance(table.c[name].type, (Text, Short))]

    def cleaned(row: Row) -> Row:
        bad = [i for i in texts if row[i] is not None and not _is_plain(row[i])]
        return [clean_text(value) if i in bad else value for i, value in enumerate(row)] if bad else row

    return cleaned


def _is_plain(text: str) -> bool:
    return text.isascii() and "\0" not in text
