"""What items are wished to be, against what a model takes: the JSON Schema of its conditions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from genplatform.errors import SpecProblem
from genplatform.spec.recipes import wanted_of
from genplatform.spec.words import dotted, nearest, shown

_MOST_PROBLEMS = 20


def condition_problems(model: str, schema: Mapping[str, Any] | None, cond: Mapping[str, Any]) -> list[SpecProblem]:
    """Return what is wrong with a `cond:` for a model with this JSON Schema of conditions (None: it takes none)."""
    if schema is None:
        return [SpecProblem(f"cond: {model} takes no condition.", "cond", hint="Leave cond out.")] if cond else []
    problems: list[SpecProblem] = []
    for error in Draft202012Validator(schema).iter_errors(_as_named(schema, cond)):
        path = ("cond", *error.absolute_path)
        if error.validator == "additionalProperties":
            known = tuple(schema.get("properties", {}))
            for word in [word for word in cond if word not in known][:_MOST_PROBLEMS]:
                near = nearest(word, known)
                hint = f"Did you mean {near!r}?" if near else f"It takes: {', '.join(known)}."
                problems.append(SpecProblem(f"cond: {model} takes no {shown(word)}.", f"cond.{word}", hint=hint))
        else:
            wanted, hint = wanted_of(error)
            message = f"{dotted(path)} is {shown(error.instance)}; {wanted} is expected."
            problems.append(SpecProblem(message, dotted(path), hint=hint))
        if len(problems) >= _MOST_PROBLEMS:
            break
    return problems


def _as_named(schema: Mapping[str, Any], cond: Mapping[str, Any]) -> dict[str, Any]:
    """Return `cond` with numbers as texts where texts are taken: classes may be called 0 to 9."""
    fields = schema.get("properties", {})
    return {name: str(value) if _is_name(value, fields.get(name)) else value for name, value in cond.items()}


def _is_name(value: Any, field: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int) or not isinstance(field, dict):
        return False
    choices = [field, *(field.get("anyOf") or ())]
    return all(choice.get("type") in {None, "string", "null"} for choice in choices)
