"""What the command line changes in a job file: `--set K=V`, and the name, queue and priority."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genplatform.errors import BadRequest, BadSpec, SpecProblem
from genplatform.spec.kinds import KINDS
from genplatform.spec.places import Document, Place
from genplatform.spec.reader import read_value
from genplatform.spec.words import FieldPath, dotted, shown, suggestion

MOST_SETS = 200
OVERRIDES = ("name", "queue", "priority")


def apply(documents: Sequence[Document], sets: Sequence[str], overrides: Mapping[str, str]) -> list[SpecProblem]:
    """Change the documents' data in place; return what could not be done."""
    problems: list[SpecProblem] = []
    if len(sets) > MOST_SETS:
        return [SpecProblem(f"{len(sets)} values are set; at most {MOST_SETS} can be.", hint="Edit the file instead.")]
    for text in sets:
        problems.extend(_set(documents, text))
    for key, value in overrides.items():
        problems.extend(_override(documents, key, value))
    return problems


def _set(documents: Sequence[Document], text: str) -> list[SpecProblem]:
    said = f"--set {shown(text)[1:-1]}"
    field, equals, written = text.partition("=")
    path = _path(field.strip())
    if not equals or not all(path):
        return [SpecProblem(f"{said}: a field and its value are expected.", hint="Write --set params.latent_dim=64.")]
    if path == ("kind",):
        return [SpecProblem(f"{said}: the kind of a job cannot be set.", "kind", hint="Edit the file instead.")]
    try:
        value = read_value(written)
    except BadSpec as error:
        return [SpecProblem(f"{said}: {error.message}", dotted(path), hint=error.hint)]
    except BadRequest as error:
        return [SpecProblem(f"--set: {error.message}", hint=error.hint)]
    kinds = [(document, KINDS.get(_kind_of(document))) for document in documents]
    takers = [document for document, kind in kinds if kind is not None and path[0] in kind.model_fields]
    if takers or any(kind is None for _, kind in kinds):  # a wrong kind is a problem of its own
        problems = [_put(document, path, value, text) for document in takers]
        return [problem for problem in problems if problem is not None]
    known = tuple(dict.fromkeys(name for _, kind in kinds if kind is not None for name in kind.model_fields))
    message = f"{said}: no job of the file has a field {shown(path[0])}."
    return [SpecProblem(message, dotted(path), hint=suggestion(path[0], known, "Fields that exist"))]


def _path(field: str) -> FieldPath:
    # A label's own name may hold dots.
    return tuple(field.split(".", 1) if field.startswith("labels.") else field.split("."))


def _kind_of(document: Document) -> str:
    kind = document.data.get("kind") if isinstance(document.data, dict) else None
    return kind if isinstance(kind, str) else ""


def _put(document: Document, path: FieldPath, value: Any, text: str) -> SpecProblem | None:
    parent = document.data
    for depth, step in enumerate(path[:-1]):
        inner = parent.get(step)
        if inner is None:
            inner = parent[step] = {}
        if not isinstance(inner, dict):
            message = f"--set {shown(text)[1:-1]}: {dotted(path[: depth + 1])} is {shown(inner)}."
            return SpecProblem(message, dotted(path), hint="Only a mapping has fields; set the whole value instead.")
        parent = inner
    parent[path[-1]] = value
    document.origins[path] = text
    return None


def _override(documents: Sequence[Document], key: str, text: str) -> list[SpecProblem]:
    if key not in OVERRIDES:
        hint = suggestion(key, OVERRIDES, "Possible")
        return [SpecProblem(f"{shown(key)} cannot be given beside the file.", hint=hint)]
    if key == "name" and len(documents) > 1:
        hint = "Name the jobs in the file, or submit one document."
        return [SpecProblem(f"A name is given for {len(documents)} jobs.", "name", hint=hint)]
    value: str | int = text
    if key == "priority":
        digits = text.strip()
        if not (digits.isdecimal() and digits.isascii() and len(digits) <= 9):
            return [SpecProblem(f"priority is {shown(text)}; a whole number is expected.", "priority")]
        value = int(digits)
    for document in documents:
        if isinstance(document.data, dict):
            document.data[key] = value
            document.values[(key,)] = Place()
            document.keys[(key,)] = Place()
    return []
