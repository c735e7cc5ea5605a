"""Restore a record from a backup, into a database that holds none: all of it in one transaction, or nothing.

The restored record is another one than that of the backup. What was acknowledged after the backup
is not in it, and it will issue numbers of runs, claims and terms that were issued before. So it gets
an incarnation of its own, to which tokens of runs and pools are bound (`domain.tokens`), and its
terms begin where no earlier dispatcher's can have come.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from genplatform.catalog import append, backup_file, database, migrate
from genplatform.catalog.backup import reflected
from genplatform.catalog.backup_file import Header, Part, Row
from genplatform.catalog.identity import ONLY
from genplatform.catalog.tables import identity, leaders, metadata
from genplatform.errors import BadRequest, Conflict, SettingsError

# Each restore begins its terms at the next of these steps. A dispatcher takes over once in some seconds at most, so
# one that a record before this one had can never have come so far.
TERMS = 1_000_000
SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
STOP = "Stop the platform first (`genctl down`, wherever it runs), then restore."


def restore(url: str, path: Path, *, incarnation: str, now: float) -> Header:
    """Load the backup `path` into the database; returns its header.

    Raises BadRequest for a file that is not whole (nothing is changed then), Conflict for a
    database that holds a record or is in use, SettingsError for a revision that is not known.
    """
    header = backup_file.check(path)
    _refuse_unknown(path, header)
    engine = database.connect(url)
    try:
        with database.transaction(engine, write=True) as connection:
            migrate.take_turn(connection)
            _refuse_used(connection, now)
            _refuse_filled(connection)
            _remove_tables(connection)
            migrate.upgrade_on(connection, header.revision)
            _load(connection, path)
            migrate.upgrade_on(connection, "head")
            _become_another(connection, incarnation)
    except DBAPIError as error:
        said = str(error.orig).strip().splitlines()[0]
        raise BadRequest(
            f"What {path} holds is refused by the database: {said}.", "Take another backup; nothing was changed."
        ) from error
    finally:
        engine.dispose()
    return header


def _refuse_unknown(path: Path, header: Header) -> None:
    if header.revision not in migrate.revisions():
        raise SettingsError(
            f"{path} is of revision {header.revision}, which this genctl does not know.",
            f"Restore it with genctl {header.version}, which made it, or a newer one.",
        )


def _refuse_used(connection: Connection, now: float) -> None:
    """Refuse a database that a platform uses: it would go on with what it holds in memory of another record."""
    where = database.shown(connection.engine.url)
    if connection.dialect.name == "postgresql":
        query = sa.text(f"{SESSIONS} AND application_name = :name")
        sessions = connection.execute(query, {"name": database.APPLICATION}).scalar_one()
        if sessions:
            raise Conflict(f"{sessions} other sessions of genctl are connected to {where}.", STOP)
    if sa.inspect(connection).has_table(leaders.name):
        until = connection.execute(sa.select(sa.func.max(leaders.c.expires_at))).scalar_one()
        if until is not None and until > now:
            raise Conflict(f"A dispatcher leads on {where}.", STOP)


def _refuse_filled(connection: Connection) -> None:
    there = set(sa.inspect(connection).get_table_names())
    if not there & set(metadata.tables):
        return
    migrate.refuse_the_unknown(connection)
    made = sa.text("SELECT count(*) FROM model_versions WHERE job_id IS NOT NULL")
    counts = {"published models": connection.execute(made).scalar_one() if "model_versions" in there else 0}
    for name in {"jobs", "submissions", "endpoints"} & there:
        counts[name] = connection.execute(sa.select(sa.func.count()).select_from(metadata.tables[name])).scalar_one()
    found = [f"{count} {name}" for name, count in sorted(counts.items()) if count]
    if found:
        raise Conflict(
            f"The catalog at {database.shown(connection.engine.url)} holds a record already: {', '.join(found)}.",
            "Restore into a new database (--into URL), or move this one away first.",
        )


def _remove_tables(connection: Connection) -> None:
    """Remove the tables of an empty record: those of the backup's revision take their place."""
    for table in reversed(list(reflected(connection).values())):
        table.drop(connection)
    connection.exec_driver_sql("DROP TABLE IF EXISTS alembic_version")


def _load(connection: Connection, path: Path) -> None:
    tables = reflected(connection)
    for table in reversed(list(tables.values())):
        # What a migration puts into new tables is in the backup as well.
        connection.execute(sa.delete(table))
    header, rows = backup_file.read(path)
    for part in header.tables:
        if part.name not in tables or sorted(part.columns) != sorted(tables[part.name].columns.keys()):
            raise BadRequest(f"The table {part.name} of {path} is not that of its revision.", "Take another backup.")
    for part, group in groupby(rows, key=lambda pair: pair[0]):
        table = tables[part.name]
        append.add_many(connection, table, part.columns, _values(table, part, (row for _, row in group)))
    if connection.dialect.name == "postgresql":
        _set_sequences(connection, tables.values())


def _values(table: sa.Table, part: Part, rows: Iterable[Row]) -> Iterator[Row]:
    """Return the rows with JSON as text, which is how `append` takes it."""
    documents = [i for i, name in enumerate(part.columns) if isinstance(table.c[name].type, sa.JSON)]
    for row in rows:
        for i in documents:
            row[i] = json.dumps(row[i])
        yield row


def _set_sequences(connection: Connection, tables: Iterable[sa.Table]) -> None:
    for table in tables:
        if "id" in table.c and connection.execute(sa.select(sa.func.pg_get_serial_sequence(table.name, "id"))).scalar():
            last = sa.select(sa.func.max(table.c.id)).scalar_subquery()
            sequence = sa.func.pg_get_serial_sequence(table.name, "id")
            connection.execute(sa.select(sa.func.setval(sequence, sa.func.coalesce(last, 1), last.is_not(None))))


def _become_another(connection: Connection, incarnation: str) -> None:
    connection.execute(sa.delete(identity))
    connection.execute(sa.insert(identity).values(id=ONLY, incarnation=incarnation))
    for row in connection.execute(sa.select(leaders.c.name, leaders.c.term)).all():
        values: dict[str, Any] = {"holder": "", "expires_at": 0.0, "data": {}, "term": (row.term // TERMS + 1) * TERMS}
        connection.execute(sa.update(leaders).where(leaders.c.name == row.name).values(**values))
