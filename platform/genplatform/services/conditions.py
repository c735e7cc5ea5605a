"""What generate jobs wish their items to be, held against the models that are to make them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from genplatform.catalog import Transaction
from genplatform.domain.names import ModelRef
from genplatform.errors import BadSpec, SpecProblem
from genplatform.services.plans import Plan
from genplatform.spec import MAX_PROBLEMS, Conditions, RecipeBook, at_most


def refuse_conditions(tx: Transaction, tenant: str, plans: Sequence[Plan], recipes: RecipeBook) -> None:
    """Raise BadSpec for conditions that their models do not take.

    A model that an earlier job of the file is to make is known by its recipe alone: whether it
    knows a class is then found out by the worker.
    """
    wishing = [plan for plan in plans if plan.cond is not None and plan.model is not None]
    if not wishing:
        return
    makers: dict[str | None, Plan] = {plan.publishes: plan for plan in plans if plan.publishes is not None}
    taken: dict[ModelRef, Conditions | None] = {}
    good: set[tuple[ModelRef, str | None]] = set()  # a hundred thousand jobs wish for a few classes
    problems: list[SpecProblem] = []
    for plan in wishing:
        assert plan.model is not None  # noqa: S101 - of those that wish
        if (plan.model, plan.cond) in good:
            continue
        if plan.model not in taken:
            schema, known = _schema(tx, tenant, plan, makers, recipes)
            taken[plan.model] = Conditions(str(plan.model), schema) if known else None
        conditions = taken[plan.model]
        found = conditions.problems(json.loads(plan.cond or "{}")) if conditions is not None else []
        if not found:
            good.add((plan.model, plan.cond))
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
        return recipes.conditions(str(maker.spec().get("recipe")))
    version = tx.models.find(tenant, plan.model)
    if version is None:
        return None, False
    if "cond" in version.card:
        return version.card["cond"], True
    return recipes.conditions(version.recipe)
