"""Check the record against its own laws: one snapshot, set by set, whatever else is written meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from genplatform.catalog import database, migrate
from genplatform.catalog.laws import LAWS, Law
from genplatform.errors import SettingsError, Unavailable

# So many that break one law are named; a thousand more would say no more.
MOST_OF_A_KIND = 100
SOUND = "ok"


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that contradicts a law: which law, which thing (`TENANT/JOB` for a job), and how."""

    law: str
    about: str
    message: str

    def as_json(self) -> dict[str, str]:
        """Return the problem as it travels."""
        return asdict(self)


def problems(engine: sa.Engine) -> list[Problem]:
    """Return what the record contradicts itself in; empty when all is well.

    Raises Unavailable when the database cannot be read, SettingsError when its tables are of another revision.
    """
    found: list[Problem] = []
    try:
        with database.transaction(engine, write=False, snapshot=True) as connection:
            _refuse_other_revisions(connection)
            found = examine(connection)
    except Unavailable:
        if not found:
            raise  # else the end of the transaction stumbled over the damage that was found
    return found


def examine(connection: Connection) -> list[Problem]:
    """Return what the record contradicts itself in, as one transaction sees it."""
    # What a damaged file says beyond that is not worth asking.
    return sorted(_unsound(connection)) or sorted(p for law in LAWS for p in _broken(connection, law))


def _refuse_other_revisions(connection: Connection) -> None:
    found, newest = migrate.revision(connection), migrate.head()
    if found != newest:
        raise SettingsError(
            f"The catalog at {database.shown(connection.engine.url)} is at revision {found or 'none'}; "
            f"this genctl's laws are those of revision {newest}.",
            database.UPGRADE_HINT,
        )


def _unsound(connection: Connection) -> Iterator[Problem]:
    """Yield what SQLite finds wrong with its file. PostgreSQL looks after its own pages."""
    if connection.dialect.name != "sqlite":
        return
    try:
        said = [row[0] for row in connection.exec_driver_sql(f"PRAGMA integrity_check({MOST_OF_A_KIND})")]
    except DBAPIError as error:
        said = [_words_of(error)]
    yield from (Problem("file", str(connection.engine.url.database), words) for words in said if words != SOUND)


def _broken(connection: Connection, law: Law) -> Iterator[Problem]:
    try:
        # What one query stumbles over must not keep the others from being asked.
        with connection.begin_nested():
            rows = connection.execute(law.broken.limit(MOST_OF_A_KIND + 1)).all()
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        yield Problem(law.name, "", f"It cannot be told: {_words_of(error)}.")
        return
    for row in rows[:MOST_OF_A_KIND]:
        yield Problem(law.name, str(row.about), law.sentence.format(**row._mapping))
    if len(rows) > MOST_OF_A_KIND:
        yield Problem(law.name, "~", f"There are more than these {MOST_OF_A_KIND}.")


def _words_of(error: DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0]
