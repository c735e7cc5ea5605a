"""Short words for tests of backups: take one, restore it, and compare records row for row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from records import NOW

from genplatform.catalog import Catalog, backup_file, database, tables
from genplatform.catalog.backup import BackedUp, backup
from genplatform.catalog.backup_file import Header
from genplatform.catalog.restore import restore

OTHER = "another-incarnation-of-it"
MADE_ANEW = {"identity", "leaders"}
Rows = dict[str, list[tuple[Any, ...]]]


def back_up(catalog: Catalog, path: Path) -> BackedUp:
    return backup(catalog.engine, path, NOW)


def rows(url: str) -> Rows:
    """Return every row of every table, as both databases give it."""
    engine = database.connect(url)
    with engine.connect() as connection:
        found = {
            table.name: [tuple(row) for row in connection.execute(sa.select(table).order_by(*table.primary_key))]
            for table in tables.metadata.sorted_tables
        }
    engine.dispose()
    return found


def restored(url: str, path: Path, incarnation: str = OTHER) -> Rows:
    restore(url, path, incarnation=incarnation, now=NOW)
    return rows(url)


def the_same(one: Rows, other: Rows) -> bool:
    return all(one[name] == other[name] for name in one if name not in MADE_ANEW)


def header_of(path: Path) -> Header:
    return backup_file.check(path)
