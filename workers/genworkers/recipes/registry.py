"""Recipes by name, and by nothing else.

A name resolves through the entry-point group `genctl.recipes` of installed packages. What
stands in a job file or in a model's card is a name to look up here: it never becomes an import.
"""

from __future__ import annotations

import difflib
from importlib import metadata
from typing import Any

from genworkers.recipes.base import Recipe

GROUP = "genctl.recipes"


class UnknownRecipe(ValueError):
    """No installed package brings a recipe of that name."""


def names() -> list[str]:
    """Return the names of all installed recipes, sorted."""
    return sorted({point.name for point in metadata.entry_points(group=GROUP)})


def find(name: str) -> type[Recipe[Any]]:
    """Return the recipe of that name; raises UnknownRecipe, with the nearest name."""
    found = [point for point in metadata.entry_points(group=GROUP) if point.name == name]
    if not found:
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Installed recipes: {', '.join(names())}."
        raise UnknownRecipe(f"No recipe is named {name!r}. {hint}")
    recipe = found[0].load()
    if not (isinstance(recipe, type) and issubclass(recipe, Recipe)):
        raise UnknownRecipe(f"The entry point {name!r} ({found[0].value}) is not a recipe.")
    return recipe
