"""How much a database does for what it is asked, counted and not timed.

SQLite counts the steps of its machine. PostgreSQL is asked, of each query again, how many rows
its plan went through.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from genplatform.catalog import Catalog

STEPS_AT_A_TIME = 10


@contextmanager
def listening(engine: sa.Engine, name: str, act: Callable[..., Any]) -> Iterator[None]:
    """Have an engine's events told for a while."""
    sa.event.listen(engine, name, act)
    try:
        yield
    finally:
        sa.event.remove(engine, name, act)


def statements(catalog: Catalog, act: Callable[[], object]) -> list[tuple[str, Any]]:
    """Return the statements that something needs, with their parameters."""
    said: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        if not statement.startswith(("BEGIN", "COMMIT")):
            said.append((statement, parameters))

    with listening(catalog.engine, "before_cursor_execute", note):
        act()
    return said


def steps(catalog: Catalog, act: Callable[[], object]) -> int:
    """Return how many steps, in tens, SQLite takes for something."""
    count = 0

    def one() -> int:
        nonlocal count
        count += 1
        return 0

    def begin(connection: Any, _record: object, _proxy: object) -> None:
        connection.set_progress_handler(one, STEPS_AT_A_TIME)

    def end(connection: Any, _record: object) -> None:
        connection.set_progress_handler(None, 0)

    with listening(catalog.engine, "checkout", begin), listening(catalog.engine, "checkin", end):
        act()
    return count


def rows_looked_at(catalog: Catalog, act: Callable[[], object]) -> int:
    """Return how many rows PostgreSQL goes through for the queries of something."""
    return sum(_rows(catalog, *said) for said in statements(catalog, act) if said[0].startswith("SELECT"))


def _rows(catalog: Catalog, statement: str, parameters: Any) -> int:
    explain = "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) "
    with catalog.engine.connect() as connection:
        found = connection.exec_driver_sql(explain + statement, parameters).scalar_one()
        connection.rollback()
    (plan,) = json.loads(found) if isinstance(found, str) else found
    return sum(_scanned(node) for node in _nodes(plan["Plan"]))


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for below in node.get("Plans", ()):
        yield from _nodes(below)


def _scanned(node: dict[str, Any]) -> int:
    if "Scan" not in node["Node Type"] or "Relation Name" not in node:
        return 0
    removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return round((node["Actual Rows"] + removed) * node["Actual Loops"])
