"""What generate jobs wish their items to be, held against the models that are to make them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from genplatform.catalog import Transaction
from genplatform.domain.names import ModelRef
from genplatform.errors import BadSpec, NotFound, SpecProblem
from genplatform.services.plans import Plan
from genplatform.spec import MAX_PROBLEMS, RecipeBook, at_most, condition_problems


def refuse_conditions(tx: Transaction, tenant: str, plans: Sequence[Plan], recipes: RecipeBook) -> None:
    """Raise BadSpec for conditions that their models do not take.

    A model that an earlier job of the file is to make is known by its recipe alone: whether it
    knows a class is then found out by the worker.
    """
    wishing = [plan for plan in plans if plan.cond is not None and plan.model is not None]
    if not wishing:
        return
    makers: dict[str | None, Plan] = {plan.publishes: plan for plan in plans if plan.publishes is not None}
    schemas: dict[ModelRef, tuple[Mapping[str, Any] | None, bool]] = {}
    problems: list[SpecProblem] = []
    for plan in wishing:
        assert plan.model is not None  # noqa: S101 - of those that wish
        if plan.model not in schemas:
            schemas[plan.model] = _schema(tx, tenant, plan, makers, recipes)
        schema, known = schemas[plan.model]
        if known:
            found = condition_problems(str(plan.model), schema, json.loads(plan.cond or "{}"))
            problems += [plan.problem(one.message, "cond", one.hint) for one in found]
        if len(problems) > MAX_PROBLEMS:
            break
    if problems:
        raise BadSpec(at_most(MAX_PROBLEMS, problems))


def _schema(
    tx: Transaction, tenant: str, plan: Plan, makers: Mapping[str | None, Plan], recipes: RecipeBook
) -> tuple[Mapping[str, Any] | None, bool]:
    """Return what the job's model takes, and whether that is known."""
    assert plan.model is not None  # noqa: S101 - of those that wish
    maker = makers.get(plan.model.name)
    if maker is not None and maker.name in plan.needs:
        return _of_recipe(recipes, str(maker.spec().get("recipe")))
    version = tx.models.find(tenant, plan.model)
    if version is None:
        return None, False
    if "cond" in version.card:
        return version.card["cond"], True
    return _of_recipe(recipes, version.recipe)


def _of_recipe(recipes: RecipeBook, name: str) -> tuple[Mapping[str, Any] | None, bool]:
    try:
        return recipes.get(name).get("cond"), True
    except NotFound:
        return None, False
