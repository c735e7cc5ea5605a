"""What pydantic found, in the words and with the places of the job file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, get_args

from pydantic import ValidationError

from genplatform.errors import SpecProblem
from genplatform.spec.common import SpecPart
from genplatform.spec.kinds import KINDS
from genplatform.spec.places import Document
from genplatform.spec.reader import MAX_PROBLEMS
from genplatform.spec.refusals import NOT_YET, REFUSED
from genplatform.spec.words import FieldPath, Found, dotted, nearest, shown, suggestion

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
}
_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
    "too_long": ("max_length", "at most"),
    "too_short": ("min_length", "at least"),
    "string_too_long": ("max_length", "at most"),
    "string_too_short": ("min_length", "at least"),
}


def wrong_kind(data: Mapping[str, Any]) -> SpecProblem | None:
    """Return what is wrong with the kind that a document says, or None."""
    possible = "Possible now"
    if "kind" not in data:
        return SpecProblem("kind is missing.", "kind", hint=f"{possible}: {', '.join(KINDS)}.")
    kind = data["kind"]
    if not isinstance(kind, str):
        return SpecProblem(f"kind is {shown(kind)}; text is expected.", "kind", hint=f"{possible}: {', '.join(KINDS)}.")
    if kind in KINDS:
        return None
    return SpecProblem(f"There is no kind {shown(kind)}.", "kind", hint=suggestion(kind, tuple(KINDS), possible))


def at_most(most: int, problems: Iterable[SpecProblem]) -> list[SpecProblem]:
    """Return the first `most` problems in the file's order, and a word that there are more."""
    ordered = sorted(problems, key=lambda p: (p.document, p.line, p.column))
    if len(ordered) <= most:
        return ordered
    return [*ordered[:most], SpecProblem("There are more problems.", hint="Mend these first.")]


def found_in(error: ValidationError, kind: str) -> list[Found]:
    """Return what pydantic found wrong with a document of that kind."""
    found = []
    for raw in error.errors(include_url=False)[: MAX_PROBLEMS + 1]:
        key = "[key]" in raw["loc"]  # pydantic's mark for the key of a mapping
        path: FieldPath = tuple(part for part in raw["loc"] if part != "[key]")
        found.append(Found(_problem(raw, path, kind), path, at_key=key or raw["type"] == "extra_forbidden"))
    return found


def placed(found: Found, document: Document, index: int) -> SpecProblem:
    """Return the problem with its place in the file; one that `--set` made has none."""
    origin = document.origin_of(found.path)
    if origin:
        hint = f"{found.problem.hint} It was set by --set {shown(origin)[1:-1]}.".strip()
        return replace(found.problem, document=index, hint=hint)
    place = document.key_at(found.path) if found.at_key else document.value_at(found.path)
    return replace(found.problem, line=place.line, column=place.column, document=index)


def _problem(error: Any, path: FieldPath, kind: str) -> SpecProblem:
    field, value, what = dotted(path), error.get("input"), str(error["type"])
    context: Mapping[str, Any] = error.get("ctx", {})
    if what == REFUSED:
        subject = f"{field} " if context["message"].startswith(("is ", "says ")) else f"{field}: "
        return SpecProblem(f"{subject if field else ''}{context['message']}.", field, hint=context["hint"])
    if what == "extra_forbidden":
        return _unknown(path, kind)
    if what == "missing":
        return SpecProblem(f"{field} is missing.", field, hint=_description(path, KINDS[kind]))
    if what in _EXPECTED:
        wanted = _EXPECTED[what]
        return SpecProblem(f"{field} is {shown(value)}; {wanted} is expected.", field, hint=_advice(wanted, value))
    if what in _BOUNDS:
        key, word = _BOUNDS[what]
        unit = {"string_too_long": " characters", "too_long": " entries"}.get(what, "")
        return SpecProblem(f"{field} is {shown(value)}; {word} {context[key]}{unit} is expected.", field)
    return SpecProblem(f"{field}: {error['msg']}.", field)


def _unknown(path: FieldPath, kind: str) -> SpecProblem:
    part, word = _part_at(path[:-1], KINDS[kind]), path[-1]
    if part is not None and word in part.not_yet:
        return SpecProblem(f"{NOT_YET}: {dotted(path)}.", dotted(path), hint=part.not_yet[str(word)])
    known = tuple(part.model_fields) if part is not None else ()
    where = f"in {dotted(path[:-1])}" if path[:-1] else f"in a {kind} job"
    message = f"There is no field {shown(word)} {where}."
    if not path[:-1] and not nearest(word, known):
        others = [other for other, document in KINDS.items() if word in document.model_fields]
        if others:
            return SpecProblem(message, dotted(path), hint=f"It belongs to a {others[0]} job.")
    return SpecProblem(message, dotted(path), hint=suggestion(word, known, "Fields that exist"))


def _part_at(path: Iterable[str | int], kind: type[SpecPart]) -> type[SpecPart] | None:
    """Return the class of the mapping at `path`."""
    part: type[SpecPart] | None = kind
    for step in path:
        field = part.model_fields.get(str(step)) if part is not None else None
        inner = field.annotation if field is not None else None
        # Of a mapping that may be left out, the mapping.
        choices = (inner, *get_args(inner))
        part = next((one for one in choices if isinstance(one, type) and issubclass(one, SpecPart)), None)
    return part


def _description(path: FieldPath, kind: type[SpecPart]) -> str:
    part = _part_at(path[:-1], kind)
    field = part.model_fields.get(str(path[-1])) if part is not None else None
    return field.description or "" if field is not None else ""


def _advice(wanted: str, value: object) -> str:
    if value is None:
        return "Give it a value, or leave the line out."
    if wanted == "text" and isinstance(value, bool | int | float):
        return "Put it in quotes, so that it is read as text."
    if isinstance(value, str) and wanted in ("a number", "a whole number"):
        return "Write the digits alone, without quotes, underscores or leading zeros."
    if isinstance(value, str) and wanted == "a list":
        return f"Write [{value}]." if value.isprintable() and len(value) < 40 else "Put it in [ ]."
    return ""
