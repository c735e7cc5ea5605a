"""`privacy:` of a training: how little of each item the model may tell, and what a training must be for that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field

from genplatform.errors import SpecProblem
from genplatform.spec.common import SpecPart
from genplatform.spec.recipes import RecipeBook
from genplatform.spec.words import Found, shown

# What a private training cannot be told besides, with what it means when it is left out, and why not.
_EXCLUDED = (
    ("precision", "fp32", "its gradients are added up in fp32"),
    ("accumulation_steps", 1, "its batches are read item by item already"),
    ("max_grad_norm", None, "privacy.max_grad_norm shortens the gradient of each item"),
    ("compile", False, "its networks see one item at a time"),
)


class Privacy(SpecPart):
    """Differential privacy of the training part (DP-SGD; Abadi et al., 2016)."""

    epsilon: float = Field(
        gt=0, le=1000, description="The budget: how much the model may tell of any one item; below 10 means something."
    )
    delta: float = Field(gt=0, lt=1, description="The chance of telling more; well below one in the number of items.")
    max_grad_norm: float = Field(
        default=1.0, gt=0, description="Largest norm of one item's gradient: a longer one is shortened to it."
    )


def privacy_problems(data: Mapping[str, Any], recipes: RecipeBook) -> Iterator[Found]:
    """Yield why a training with `privacy` cannot be, as far as its document tells."""
    if data.get("privacy") is None:
        return
    recipe = data.get("recipe")
    obstacle = recipes.privacy_obstacle(recipe) if isinstance(recipe, str) else None
    if obstacle:
        message = f"privacy: the recipe {shown(recipe)} cannot be trained so: {obstacle}."
        hint = f"Recipes that can: {', '.join(recipes.private_ones())}."
        yield Found(SpecProblem(message, "privacy", hint=hint), ("privacy",))
    how = data.get("optimization")
    for field, usual, why in _EXCLUDED:
        if isinstance(how, Mapping) and how.get(field, usual) != usual:
            message = f"optimization.{field} is {shown(how[field])}, and a training with privacy takes none: {why}."
            path = ("optimization", field)
            yield Found(SpecProblem(message, ".".join(path), hint="Leave it out."), path)
    machine = data.get("resources")
    workers = machine.get("workers", 1) if isinstance(machine, Mapping) else 1
    if workers != 1:
        message = f"resources.workers is {shown(workers)}, and a training with privacy has one worker."
        yield Found(SpecProblem(message, "resources.workers", hint="Write 1."), ("resources", "workers"))
