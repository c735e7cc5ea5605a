"""Bring a database's tables to the newest revision."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
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


def upgrade(url: str, revision: str = "head") -> str:
    """Run the missing revisions in one transaction; returns the revision reached.

    Raises Unavailable when the database cannot be reached, and SettingsError when a newer
    genctl has brought it to a revision that this one does not know.
    """
    engine = database.connect(url)
    try:
        return upgrade_engine(engine, revision)
    finally:
        engine.dispose()


def upgrade_engine(engine: sa.Engine, revision: str = "head") -> str:
    """Do the same on a database that is connected already, such as one in memory."""
    with database.transaction(engine, write=True) as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
        made = config()
        made.attributes["connection"] = connection
        command.upgrade(made, revision)
        return str(MigrationContext.configure(connection).get_current_revision())
