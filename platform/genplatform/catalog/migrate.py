"""Bring a database's tables to the newest revision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection

from genplatform.catalog import database
from genplatform.errors import SettingsError

MIGRATIONS = Path(__file__).parent / "migrations"
# One number for all: two processes that upgrade one PostgreSQL at a time do it one after the other.
ADVISORY_LOCK = 0x67656E63


def config() -> Config:
    """Return Alembic's configuration without an ini file."""
    made = Config()
    made.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    made.set_main_option("path_separator", "os")
    return made


def head() -> str:
    """Return the newest revision."""
    return str(ScriptDirectory.from_config(config()).get_current_head())


def revisions() -> set[str]:
    """Return every revision that this genctl knows."""
    return {script.revision for script in ScriptDirectory.from_config(config()).walk_revisions()}


@dataclass(frozen=True)
class Upgraded:
    """From which revision a database's tables came (None: there were none) to which."""

    before: str | None
    after: str


def upgrade(url: str, to: str = "head") -> Upgraded:
    """Run the missing revisions in one transaction.

    Raises Unavailable when the database cannot be reached, and SettingsError when a newer
    genctl has brought it to a revision that this one does not know.
    """
    engine = database.connect(url)
    try:
        with database.transaction(engine, write=True) as connection:
            take_turn(connection)
            refuse_the_unknown(connection)
            before = revision(connection)
            upgrade_on(connection, to)
            return Upgraded(before, str(revision(connection)))
    finally:
        engine.dispose()


def take_turn(connection: Connection) -> None:
    """Wait for whoever changes this database's tables now, and keep others from it for this transaction."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")


def upgrade_on(connection: Connection, to: str) -> None:
    """Run the missing revisions within a transaction."""
    made = config()
    made.attributes["connection"] = connection
    command.upgrade(made, to)


def revision(connection: Connection) -> str | None:
    """Return the revision of the database's tables; None when it has none of ours."""
    return MigrationContext.configure(connection).get_current_revision()


def refuse_the_unknown(connection: Connection) -> None:
    """Raise SettingsError for tables that a newer genctl has made."""
    found = revision(connection)
    if found is not None and found not in revisions():
        at = database.shown(connection.engine.url)
        raise SettingsError(
            f"The catalog at {at} is at revision {found}, which this genctl does not know.",
            "Use the newer genctl that brought it there, or set GENCTL_DATABASE_URL (or GENCTL_HOME) to another one.",
        )
