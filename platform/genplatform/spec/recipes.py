"""What the platform knows of recipes without running them: their names, summaries and schemas.

Recipes import torch, and this floor imports neither torch nor the workers: each package of
recipes brings a description of itself as data (`builtin.json`), which is read from where
Python would find the package.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from jsonschema.exceptions import ValidationError  # type: ignore[import-untyped]

from genplatform.errors import NotFound, SpecProblem, Unavailable
from genplatform.spec.words import FieldPath, Found, dotted, nearest, shown, suggestion

ENTRY_POINTS = "genctl.recipes"
_DESCRIPTIONS = ("recipes", "builtin.json")
_MOST_PROBLEMS = 50
# How many sets of good parameters are remembered, and how long each may be as JSON.
_MOST_KNOWN = 10_000
_LONGEST_KNOWN = 1000

_TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
}


_BOUNDS = {
    "minimum": "at least",
    "maximum": "at most",
    "exclusiveMinimum": "more than",
    "exclusiveMaximum": "less than",
    "minItems": "a list of at least",
    "maxItems": "a list of at most",
    "minLength": "a text of at least",
    "maxLength": "a text of at most",
    "const": "exactly",
    "multipleOf": "a multiple of",
}


class RecipeBook:
    """The recipes that may be named in a job file.

    A descriptor is `{name, modality, summary, trainable, config, cond, formats, tile, first_stage,
    whole_batches, worker_dependent, tunable, no_adapters, privacy_obstacle}`, where `config` is the JSON
    Schema of the recipe's parameters, `cond` that of one item's condition, or None, `first_stage` the
    recipe of the model that it builds on, or None, `whole_batches` why several workers cannot share a
    batch, or None, `worker_dependent` why another number of workers trains another model, or None,
    `tunable` the parameters that may be other than those of a base, `no_adapters` why models of it cannot
    be tuned by adapters, or None, and `privacy_obstacle` why they cannot be trained with privacy.
    Of recipes that installed packages bring, name and summary are all that is known here.
    """

    def __init__(self, descriptors: Iterable[Mapping[str, Any]]) -> None:
        by_name = {str(d["name"]): dict(d) for d in descriptors}
        self._by_name = {name: by_name[name] for name in sorted(by_name)}
        self._validators = {name: Draft202012Validator(d.get("config") or {}) for name, d in self._by_name.items()}
        self._known_good: set[tuple[str, str]] = set()

    @classmethod
    def builtin(cls) -> RecipeBook:
        """Return the recipes that genctl brings, and those of installed packages.

        Raises Unavailable when their descriptions cannot be read.
        """
        found = find_spec("genworkers")  # finds the package's folder; imports nothing
        folders = list(found.submodule_search_locations or ()) if found else []
        if not folders:
            raise Unavailable("The package genworkers is not installed.", "Install genctl again, with all its parts.")
        path = Path(folders[0], *_DESCRIPTIONS)
        try:
            ours = json.loads(path.read_text(encoding="utf-8"))["recipes"]
            return cls([*_installed(), *ours])  # ours last: nobody takes their place
        except (OSError, ValueError, KeyError, TypeError) as error:
            message = f"The descriptions of the built-in recipes cannot be read: {type(error).__name__} in {path}."
            raise Unavailable(message, "Install genctl again.") from error

    def names(self) -> tuple[str, ...]:
        """Return all names, in order."""
        return tuple(self._by_name)

    def get(self, name: str) -> dict[str, Any]:
        """Return a copy of the descriptor. Raises NotFound with the nearest name as its hint."""
        return copy.deepcopy(self._found(name))

    def is_trainable(self, name: str) -> bool:
        """Tell whether models of the recipe are trained. Raises NotFound."""
        return bool(self._found(name).get("trainable", True))

    def conditions(self, name: str) -> tuple[dict[str, Any] | None, bool]:
        """Return the JSON Schema of one item's condition, and whether it is known: of ours alone it is."""
        found = self._by_name.get(name, {})
        return copy.deepcopy(found.get("cond")), "cond" in found

    def first_stage(self, name: str) -> str | None:
        """Return the recipe of the model that models of this one build on; None where they build on none."""
        return self._by_name.get(name, {}).get("first_stage")

    def whole_batches(self, name: str) -> str | None:
        """Return why several workers cannot share a batch of the recipe; None where they can, or nothing is known."""
        return self._by_name.get(name, {}).get("whole_batches")

    def tunable(self, name: str) -> frozenset[str] | None:
        """Return the parameters that a training may set otherwise than its base; None where that is not known."""
        told = self._by_name.get(name, {}).get("tunable")
        return None if told is None else frozenset(told)

    def no_adapters(self, name: str) -> str | None:
        """Return why models of the recipe cannot be tuned by adapters; None where they can, or it is not known."""
        return self._by_name.get(name, {}).get("no_adapters")

    def privacy_obstacle(self, name: str) -> str | None:
        """Return why models of the recipe cannot be trained with privacy; None where they can, or nothing is known."""
        return self._by_name.get(name, {}).get("privacy_obstacle")

    def private_ones(self) -> list[str]:
        """Return the recipes that say of themselves that they can be trained with privacy."""
        described = {name: d for name, d in self._by_name.items() if "privacy_obstacle" in d}
        return [name for name, d in described.items() if d.get("trainable", True) and not d["privacy_obstacle"]]

    def _found(self, name: str) -> dict[str, Any]:
        if name not in self._by_name:
            raise NotFound(f"There is no recipe {shown(name)}.", suggestion(name, self.names(), "Recipes that exist"))
        return self._by_name[name]

    def ls(self) -> dict[str, Any]:
        """Return `{"recipes": [{name, modality, summary}]}`."""
        keys = ("name", "modality", "summary")
        return {"recipes": [{key: d.get(key, "") for key in keys} for d in self._by_name.values()]}

    def show(self, name: str) -> dict[str, Any]:
        """Return the descriptor with every key that the public interface names. Raises NotFound."""
        return {"summary": "", "modality": "", "config": {}, "cond": None, **self.get(name)}

    def check_params(self, name: str, params: Mapping[str, Any]) -> list[SpecProblem]:
        """Return what is wrong with the parameters of that recipe. Raises NotFound."""
        return [found.problem for found in self.find_in_params(name, params)]

    def find_in_params(self, name: str, params: Mapping[str, Any]) -> list[Found]:
        """Return what is wrong with the parameters, each with its path from the document's root."""
        self._found(name)
        # A sweep sends the same parameters with a thousand seeds, and JSON Schema is slow.
        asked = (name, json.dumps(params, sort_keys=True))
        if asked in self._known_good:
            return []
        found: list[Found] = []
        for error in self._validators[name].iter_errors(dict(params)):
            found.extend(_found(error, name))
            if len(found) >= _MOST_PROBLEMS:
                break
        if not found and len(self._known_good) < _MOST_KNOWN and len(asked[1]) < _LONGEST_KNOWN:
            self._known_good.add(asked)
        return sorted(found[:_MOST_PROBLEMS], key=lambda f: f.problem.path)


def _installed() -> list[dict[str, Any]]:
    """Return what is known of the recipes that installed packages bring as entry points, none of which is imported."""
    return [
        {"name": point.name, "summary": f"From the installed package {point.dist.name if point.dist else '?'}."}
        for point in metadata.entry_points(group=ENTRY_POINTS)
    ]


def _found(error: ValidationError, recipe: str) -> list[Found]:
    path: FieldPath = ("params", *error.absolute_path)
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = tuple(error.schema.get("properties", {}))
        return [
            Found(_unknown(path, word, known, recipe), (*path, word), at_key=True)
            for word in list(error.instance)[:_MOST_PROBLEMS]
            if word not in known
        ]
    wanted, hint = wanted_of(error)
    message = f"{dotted(path)} is {shown(error.instance)}; {wanted} is expected."
    return [Found(SpecProblem(message, dotted(path), hint=hint), path)]


def _unknown(path: FieldPath, word: str, known: tuple[str, ...], recipe: str) -> SpecProblem:
    near = nearest(word, known)
    hint = f"Did you mean {near!r}?" if near else f"See: genctl recipes show {recipe}"
    message = f"{dotted(path)}: the recipe {recipe} has no parameter {shown(word)}."
    return SpecProblem(message, dotted((*path, word)), hint=hint)


def wanted_of(error: ValidationError) -> tuple[str, str]:
    """Return what the schema expects, and a hint."""
    rule, keyword = error.validator_value, str(error.validator)
    wanted, hint = f"what the schema's {keyword} says", ""
    if keyword in _BOUNDS:
        wanted = f"{_BOUNDS[keyword]} {rule}"
    elif keyword == "type":
        wanted = _type(rule)
    elif keyword in ("anyOf", "oneOf"):
        fitting = [cause for cause in error.context or () if cause.validator != "type"]
        if fitting:  # the type fits one of the alternatives, and its bound does not
            return wanted_of(fitting[0])
        wanted = " or ".join(_type(option["type"]) for option in rule if "type" in option) or "another value"
    elif keyword == "enum":
        wanted = f"one of {', '.join(shown(value) for value in rule)}"
        near = nearest(error.instance, [value for value in rule if isinstance(value, str)])
        hint = f"Did you mean {near!r}?" if near else ""
    elif keyword == "pattern" and error.schema.get("format") == "picture":
        wanted, hint = "an upload of a picture", "Name the file or folder as ./PATH: `genctl submit` sends it ahead."
    elif keyword == "required":
        wanted = f"one with {', '.join(key for key in rule if key not in error.instance)}"
    return wanted, hint


def _type(kinds: str | list[str]) -> str:
    return " or ".join(_TYPES.get(kind, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds))
