"""What the command line changes in a job file: `--set K=V`, and the name, queue and priority."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from genplatform.errors import BadRequest, BadSpec, SpecProblem
from genplatform.spec.kinds import KINDS
from genplatform.spec.places import Document, Place
from genplatform.spec.reader import read_value
from genplatform.spec.words import FieldPath, dotted, shown, suggestion

MOST_SETS = 200
OVERRIDES = ("name", "queue", "priority")


@dataclass
class _Set:
    """One `--set`: where, what, in which words, and whether a document had the field."""

    path: FieldPath
    value: Any
    text: str
    is_taken: bool = False

    @property
    def said(self) -> str:
        """How messages speak of it."""
        return f"--set {shown(self.text)[1:-1]}"


class Changes:
    """What is to be changed in each document of a file. `problems` are those of the words themselves."""

    def __init__(self, sets: Sequence[str], overrides: Mapping[str, str]) -> None:
        self.problems: list[SpecProblem] = []
        self._sets: list[_Set] = []
        self._overrides: dict[str, str | int] = {}
        self._count = 0
        self._kinds: set[str] = set()
        if len(sets) > MOST_SETS:
            message = f"{len(sets)} values are set; at most {MOST_SETS} can be."
            self.problems.append(SpecProblem(message, hint="Edit the file instead."))
            sets = ()
        for text in sets:
            self._read_set(text)
        for key, value in overrides.items():
            self._read_override(key, value)

    def __bool__(self) -> bool:
        return bool(self._sets or self._overrides or self.problems)

    def apply(self, document: Document) -> list[SpecProblem]:
        """Change a document's data in place; returns what could not be done."""
        kind = _kind_of(document)
        self._count += 1
        self._kinds.add(kind)
        problems = [self._put(document, change) for change in self._sets if _has(kind, change.path[0])]
        if isinstance(document.data, dict):
            for key, value in self._overrides.items():
                document.data[key] = value
                document.values[(key,)] = Place()
                document.keys[(key,)] = Place()
        return [problem for problem in problems if problem is not None]

    def left_over(self) -> list[SpecProblem]:
        """Return what is wrong with the changes, now that every document has been changed."""
        problems = []
        if "name" in self._overrides and self._count > 1:
            hint = "Name the jobs in the file, or submit one document."
            problems.append(SpecProblem(f"A name is given for {self._count} jobs.", "name", hint=hint))
        if self._kinds - KINDS.keys():
            return problems  # a wrong kind is a problem of its own
        known = tuple(dict.fromkeys(name for kind in KINDS if kind in self._kinds for name in KINDS[kind].model_fields))
        for change in self._sets:
            if not change.is_taken and self._count:
                message = f"{change.said}: no job of the file has a field {shown(change.path[0])}."
                hint = suggestion(change.path[0], known, "Fields that exist")
                problems.append(SpecProblem(message, dotted(change.path), hint=hint))
        return problems

    def _read_set(self, text: str) -> None:
        change = _Set((), None, text)
        field, equals, written = text.partition("=")
        path = _path(field.strip())
        if not equals or not all(path):
            hint = "Write --set params.latent_dim=64."
            self.problems.append(SpecProblem(f"{change.said}: a field and its value are expected.", hint=hint))
            return
        if path == ("kind",):
            message = f"{change.said}: the kind of a job cannot be set."
            self.problems.append(SpecProblem(message, "kind", hint="Edit the file instead."))
            return
        try:
            change.path, change.value = path, read_value(written)
        except BadSpec as error:
            self.problems.append(SpecProblem(f"{change.said}: {error.message}", dotted(path), hint=error.hint))
        except BadRequest as error:
            self.problems.append(SpecProblem(f"--set: {error.message}", hint=error.hint))
        else:
            self._sets.append(change)

    def _read_override(self, key: str, text: str) -> None:
        if key not in OVERRIDES:
            hint = suggestion(key, OVERRIDES, "Possible")
            self.problems.append(SpecProblem(f"{shown(key)} cannot be given beside the file.", hint=hint))
            return
        value: str | int = text
        if key == "priority":
            digits = text.strip()
            if not (digits.isdecimal() and digits.isascii() and len(digits) <= 9):
                message = f"priority is {shown(text)}; a whole number is expected."
                self.problems.append(SpecProblem(message, "priority"))
                return
            value = int(digits)
        self._overrides[key] = value

    def _put(self, document: Document, change: _Set) -> SpecProblem | None:
        change.is_taken = True
        parent = document.data
        for depth, step in enumerate(change.path[:-1]):
            inner = parent.get(step)
            if inner is None:
                inner = parent[step] = {}
            if not isinstance(inner, dict):
                message = f"{change.said}: {dotted(change.path[: depth + 1])} is {shown(inner)}."
                hint = "Only a mapping has fields; set the whole value instead."
                return SpecProblem(message, dotted(change.path), hint=hint)
            parent = inner
        # Each document has a value of its own: a later `--set` may go into it.
        parent[change.path[-1]] = copy.deepcopy(change.value)
        document.origins[change.path] = change.text
        return None


def _path(field: str) -> FieldPath:
    # A label's own name may hold dots.
    return tuple(field.split(".", 1) if field.startswith("labels.") else field.split("."))


def _kind_of(document: Document) -> str:
    kind = document.data.get("kind") if isinstance(document.data, dict) else None
    return kind if isinstance(kind, str) else ""


def _has(kind: str, field: str | int) -> bool:
    return kind in KINDS and field in KINDS[kind].model_fields
