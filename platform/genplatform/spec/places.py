"""Where things stand in a job file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NoReturn

from genplatform.errors import BadSpec, SpecProblem
from genplatform.spec.words import FieldPath


@dataclass(frozen=True)
class Place:
    """Where something stands: line and column from 1, or 0 where that is not known."""

    line: int = 0
    column: int = 0

    def after(self, start: Place) -> Place:
        """Return where this place of a piece is in the whole, in which the piece begins at `start`."""
        if not self.line or start == FIRST:
            return self
        return Place(start.line + self.line - 1, self.column + (start.column - 1 if self.line == 1 else 0))


FIRST = Place(1, 1)


@dataclass
class Document:
    """One document: plain data, and where each key and value of it stands.

    `wrong` holds the paths that were refused already, whose stand-in value means nothing;
    `origins` the paths that the command line set, with its words.
    """

    data: Any = None
    values: dict[FieldPath, Place] = field(default_factory=dict)
    keys: dict[FieldPath, Place] = field(default_factory=dict)
    wrong: set[FieldPath] = field(default_factory=set)
    origins: dict[FieldPath, str] = field(default_factory=dict)

    def value_at(self, path: FieldPath) -> Place:
        """Return where the value at `path` stands, else where the nearest thing around it does."""
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, Place())

    def key_at(self, path: FieldPath) -> Place:
        """Return where the key of `path` stands."""
        return self.keys.get(path) or self.value_at(path[:-1])

    def origin_of(self, path: FieldPath) -> str:
        """Return the words of the command line that set `path`, something around it or in it; else nothing."""
        for origin, words in self.origins.items():
            shorter = min(len(origin), len(path))
            if shorter and origin[:shorter] == path[:shorter]:
                return words
        return ""

    def is_wrong(self, path: FieldPath) -> bool:
        """Tell whether `path`, or something around it, was refused already."""
        return any(path[:end] in self.wrong for end in range(len(path) + 1))


def stop(message: str, place: Place, hint: str = "", document: int = 0) -> NoReturn:
    """Refuse the whole file for one thing that makes the rest unreadable."""
    raise BadSpec([SpecProblem(message, line=place.line, column=place.column, document=document, hint=hint)])
