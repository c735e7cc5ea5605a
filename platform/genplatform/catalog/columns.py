"""Column types that mean the same on both databases.

What workers and people send reaches these columns. PostgreSQL refuses some text that SQLite
keeps (NUL) and some JSON that Python writes (NaN), and neither takes a lone surrogate; one such
line would block a whole batch for good. So it is kept, with a mark in the bad place.
"""

from __future__ import annotations

import math
import re
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeEngine

_UNKEEPABLE = re.compile("[\x00\ud800-\udfff]")
MARK = "\ufffd"


def clean_text(text: str) -> str:
    """Return the text with a mark in place of every character that a database refuses."""
    return _UNKEEPABLE.sub(MARK, text)


def clean_json(value: Any) -> Any:
    """Return the value as JSON can carry it: clean text, and None for numbers that are not finite."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {clean_text(key): clean_json(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean_json(inner) for inner in value]
    return value


class _Clean:
    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Clean what goes in."""
        return None if value is None else clean_text(value)


class Text(_Clean, sa.types.TypeDecorator[str]):
    """Text of any length."""

    impl = sa.Text
    cache_ok = True


class Short(_Clean, sa.types.TypeDecorator[str]):
    """Text of a limited length. It sorts by code point on every server, so that a range finds the ids of a prefix."""

    impl = sa.String
    cache_ok = True

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self._length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the database's own type."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.VARCHAR(self._length, collation="C"))
        return dialect.type_descriptor(sa.String(self._length))


class Json(sa.types.TypeDecorator[Any]):
    """A JSON document; JSONB on PostgreSQL."""

    impl = sa.JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the database's own type."""
        return dialect.type_descriptor(postgresql.JSONB() if dialect.name == "postgresql" else sa.JSON())

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Clean what goes in."""
        return clean_json(value)
