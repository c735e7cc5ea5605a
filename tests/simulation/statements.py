"""A short way for the catalog's statements: compiled by SQLAlchemy, kept, and handed to SQLite without its engine.

Thousands of histories are millions of statements, and SQLAlchemy's engine takes many times as long
for one as SQLite does. What is asked here is exactly what it would ask: a test plays histories by
both ways. Whatever is not plain goes by the long one, and so does what SQLite refuses, for its error.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row
from sqlalchemy.engine.result import SimpleResultMetaData

from genplatform.catalog.tables import metadata

Parameters = Mapping[str, Any]

EVERY = frozenset(metadata.tables)


class Short:
    """A connection to the catalog's repositories, over one that SQLAlchemy has."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._driver = connection.connection.driver_connection
        self._kept: dict[Any, _Statement] = {}
        self._known: dict[Any, tuple[_Statement, Any]] = {}
        self.dialect = connection.dialect
        self.long = False  # whether every statement goes the long way
        self.written: set[str] = set()  # the tables that were written to, by whoever takes this away

    def execute(self, statement: Any, parameters: Parameters | Sequence[Parameters] | None = None) -> Any:
        """Execute a statement."""
        given = parameters[0] if isinstance(parameters, list) and len(parameters) == 1 else parameters
        if given is None:
            given = {}
        if self.long or not isinstance(given, dict):
            return self._by_the_long_way(statement, parameters)
        kept, cached = self._kept_as(statement, given)
        if not kept.plain:
            return self._by_the_long_way(statement, parameters)
        text, values = kept.asked(given if cached.params is None else {**cached.params, **given}, cached.bindparams)
        try:
            cursor = self._driver.execute(text, values)
            rows = kept.rows(cursor)
        except sqlite3.Error:
            return self._by_the_long_way(statement, parameters)
        if kept.writes is not None and (cursor.rowcount != 0 or rows):
            self.written.add(kept.writes)
        return Result(rows, cursor.rowcount)

    def _by_the_long_way(self, statement: Any, parameters: Any) -> Any:
        if not statement.is_select:
            self.written |= EVERY
        return self._connection.execute(statement, parameters)

    def _kept_as(self, statement: Any, given: Parameters) -> tuple[_Statement, Any]:
        """Return what was made of a statement, and its parameters as it has them now."""
        made_once = "_generate_cache_key" in statement.__dict__  # it was asked before, and so is asked again
        found = self._known.get((statement, *given)) if made_once else None
        if found is not None:
            return found
        cached = statement._generate_cache_key()
        key = (cached.key, *sorted(given))
        if key not in self._kept:
            self._kept[key] = _Statement(statement, cached, sorted(given), self.dialect)
        found = self._kept[key], cached
        if made_once:
            self._known[(statement, *given)] = found
        return found

    def exec_driver_sql(self, *asked: Any) -> Any:
        """Execute a text, by the long way."""
        self.written |= EVERY
        return self._connection.exec_driver_sql(*asked)


class Result:
    """What a statement came to."""

    def __init__(self, rows: list[Row[Any]], rowcount: int) -> None:
        self._rows = rows
        self.rowcount = rowcount

    def __iter__(self) -> Iterator[Row[Any]]:
        return iter(self._rows)

    def all(self) -> list[Row[Any]]:
        return self._rows

    def first(self) -> Row[Any] | None:
        return self._rows[0] if self._rows else None

    def one(self) -> Row[Any]:
        (row,) = self._rows
        return row

    def scalar_one(self) -> Any:
        return self.one()[0]


class _Statement:
    """One statement as it was compiled, and how its parameters are found."""

    def __init__(self, statement: Any, cached: Any, names: Sequence[str], dialect: sa.Dialect) -> None:
        made = statement._compiler(dialect, cache_key=cached, column_keys=names)
        pairs = any(bind.type._is_tuple_type for bind in made.post_compile_params)
        self.plain = not (pairs or made.literal_execute_params or made.insert_prefetch or made.update_prefetch)
        self._made = made
        is_written = made.isinsert or made.isupdate or made.isdelete
        self.writes: str | None = statement.table.name if is_written else None
        self._texts: dict[tuple[int, ...], str] = {}
        self._parameters = self._found()
        # SQLite has no type of a column to give, which some types would ask for.
        columns = made._result_columns
        self._meta = SimpleResultMetaData([column.keyname for column in columns])
        processors = [column.type._cached_result_processor(dialect, None) for column in columns]
        self._processors = processors if any(processors) else None

    def _found(self) -> list[tuple[str, Any, int | None, Callable[[Any], Any] | None, bool]]:
        """Return of each question mark: name, parameter, number among those of the key, what it goes through, many."""
        made = self._made
        numbers = {
            bind: n for n, of in enumerate(made.cache_key.bindparams) for bind in made._cache_key_bind_match[0][of]
        }
        found = []
        for name in made.positiontup:
            bind = made.binds[name]
            through, many = made._bind_processors.get(name), bind in made.post_compile_params
            found.append((name, bind, numbers.get(bind), through, many))
        return found

    def asked(self, given: Parameters, binds: Sequence[Any]) -> tuple[str, list[Any]]:
        """Return the text for SQLite and its parameters."""
        values: list[Any] = []
        counts: list[int] = []
        for name, bind, number, through, many in self._parameters:
            if bind.key in given:
                value = given[bind.key]
            elif name in given:
                value = given[name]
            else:
                value = (bind if number is None else binds[number]).effective_value
            if many:
                counts.append(len(value))
                values += value if through is None else map(through, value)
            else:
                values.append(value if through is None else through(value))
        return (self._text(tuple(counts), given, binds) if counts else self._made.string), values

    def _text(self, counts: tuple[int, ...], given: Parameters, binds: Sequence[Any]) -> str:
        """Return the text with as many question marks for a sequence as it has members."""
        if counts not in self._texts:
            values = self._made.construct_params(dict(given), extracted_parameters=binds, escape_names=False)
            self._texts[counts] = self._made._process_parameters_for_postcompile(values).statement
        return self._texts[counts]

    def rows(self, cursor: sqlite3.Cursor) -> list[Row[Any]]:
        """Return the rows that a statement brought."""
        meta, processors = self._meta, self._processors
        return [Row(meta, processors, meta._key_to_index, row) for row in cursor.fetchall()]
