"""What items are wished to be, against what a model takes: the JSON Schema of its conditions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from jsonschema.exceptions import SchemaError  # type: ignore[import-untyped]
from referencing import Registry

from genplatform.errors import SpecProblem
from genplatform.spec.recipes import wanted_of
from genplatform.spec.words import dotted, nearest, shown

_MOST_PROBLEMS = 20


def schema_fault(schema: Any) -> str | None:
    """Return why this is no JSON Schema of conditions, or None for one that is; so is None, of a model without any."""
    if schema is None:
        return None
    if not isinstance(schema, Mapping):
        return f"It is {shown(schema)}, and no mapping."
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return f"{dotted(error.absolute_path) or 'The schema'}: {shown(error.message)}"
    except RecursionError:
        return "It is nested too deep."
    return None


class Conditions:
    """What a model takes: the JSON Schema of its conditions, or None when it takes none.

    Schemas come from nodes, in the cards of models. None is fetched from anywhere else, and one that cannot be
    held against anything is a problem of the job that has a condition, told as such.
    """

    def __init__(self, model: str, schema: Mapping[str, Any] | None) -> None:
        self._model = model
        self._schema = schema
        self._fault = schema_fault(schema)

    @cached_property
    def _validator(self) -> Draft202012Validator:
        return Draft202012Validator(self._schema, registry=Registry())

    def problems(self, cond: Mapping[str, Any]) -> list[SpecProblem]:
        """Return what is wrong with a `cond:`."""
        if self._fault is not None:
            return [self._broken(self._fault)]
        if self._schema is None:
            hint = "Leave cond out."
            return [SpecProblem(f"cond: {self._model} takes no condition.", "cond", hint=hint)] if cond else []
        try:
            return self._found(self._schema, cond)
        except Exception as error:  # a good schema may still refer to what is not there, or to itself without end
            return [self._broken(f"{type(error).__name__}: {shown(str(error))}")]

    def _found(self, schema: Mapping[str, Any], cond: Mapping[str, Any]) -> list[SpecProblem]:
        problems: list[SpecProblem] = []
        for error in self._validator.iter_errors(_as_named(schema, cond)):
            path = ("cond", *error.absolute_path)
            if error.validator == "additionalProperties":
                known = tuple(schema.get("properties", {}))
                for word in [word for word in cond if word not in known][:_MOST_PROBLEMS]:
                    near = nearest(word, known)
                    hint = f"Did you mean {near!r}?" if near else f"It takes: {', '.join(known)}."
                    message = f"cond: {self._model} takes no {shown(word)}."
                    problems.append(SpecProblem(message, f"cond.{word}", hint=hint))
            else:
                wanted, hint = wanted_of(error)
                message = f"{dotted(path)} is {shown(error.instance)}; {wanted} is expected."
                problems.append(SpecProblem(message, dotted(path), hint=hint))
            if len(problems) >= _MOST_PROBLEMS:
                break
        return problems

    def _broken(self, why: str) -> SpecProblem:
        return SpecProblem(
            f"cond: the conditions that {self._model} says it takes are no JSON Schema to hold it against. {why}",
            "cond",
            hint="Leave cond out, or train the model again.",
        )


def _as_named(schema: Mapping[str, Any], cond: Mapping[str, Any]) -> dict[str, Any]:
    """Return `cond` with numbers as texts where texts are taken: classes may be called 0 to 9."""
    fields = schema.get("properties", {})
    return {name: str(value) if _is_name(value, fields.get(name)) else value for name, value in cond.items()}


def _is_name(value: Any, field: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int) or not isinstance(field, dict):
        return False
    choices = [one for one in (field, *(field.get("anyOf") or ())) if isinstance(one, dict)]
    return all(choice.get("type") in (None, "string", "null") for choice in choices)
