"""What trainings start from: a published model of their own recipe, whose networks theirs are to be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from genplatform.catalog import ModelRow, Transaction
from genplatform.domain import recipe_code
from genplatform.domain.job import JobKind
from genplatform.errors import BadSpec, SpecProblem
from genplatform.services.context import Wiring
from genplatform.services.plans import Plan
from genplatform.spec import MAX_PROBLEMS, at_most

BASE = "base"


def refuse_bases(w: Wiring, tx: Transaction, tenant: str, plans: Sequence[Plan]) -> None:
    """Raise BadSpec for trainings whose base is of another recipe, has other networks, or has lost its files.

    A base that an earlier job of the file is to make is known by that job's recipe alone: whether its networks fit is
    then found out when the run begins.
    """
    building = [(plan, plan.spec()) for plan in plans if plan.kind == JobKind.TRAIN and plan.model is not None]
    based = [(plan, spec) for plan, spec in building if spec.get(BASE) is not None]
    if not based:
        return
    makers = {plan.name: plan for plan in plans if plan.publishes is not None}
    there: dict[str, bool] = {}
    problems: list[SpecProblem] = []
    for plan, spec in based:
        assert plan.model is not None  # noqa: S101 - of those that have one
        # A bare name is what a needed job publishes, whatever has that name now.
        version = tx.models.find(tenant, plan.model) if plan.model.version is not None else None
        promising = [makers[need] for need in plan.needs if need in makers and version is None]
        named = [one for one in promising if one.publishes == plan.model.name]
        maker = next((one for one in named if one.kind == JobKind.TRAIN), next(iter(named), None))
        if maker is not None and maker.kind != JobKind.TRAIN:
            problems.append(_compressed(plan, maker))
        elif maker is not None:
            problems += _of_recipe(plan, spec, str(maker.spec()["recipe"]), f"what {maker.name} makes")
        elif version is not None:
            found = [*_of_recipe(plan, spec, _recipe(version), version.ref), *_of_params(w, plan, spec, version)]
            if not found and version.key and version.key not in there:
                there[version.key] = bool(w.store.list(version.key))
            if not found and not there.get(version.key or "", True):
                found = [_lost(plan, version)]
            problems += found
        if len(problems) > MAX_PROBLEMS:
            break
    if problems:
        raise BadSpec(at_most(MAX_PROBLEMS, problems))


def _recipe(version: ModelRow) -> str:
    """Return the recipe of a version as job files name it: one's own by its code."""
    code = recipe_code.of_card(version.card.get("code"))
    return version.recipe if code is None else f"{code.module}:{code.cls}"


def _of_recipe(plan: Plan, spec: Mapping[str, Any], of_base: str, base: str) -> Iterator[SpecProblem]:
    own, others = recipe_code.parse(spec["recipe"]), recipe_code.parse(of_base)
    mine = spec["recipe"] if own is None else f"{own.module}:{own.cls}"
    theirs = of_base if others is None else f"{others.module}:{others.cls}"
    if mine != theirs:
        message = f"base: {base} is of the recipe {theirs!r}, and this job's recipe is {mine!r}."
        yield plan.problem(message, BASE, f"Write `recipe: {theirs}`, or start from a model of {mine}.")


def _of_params(w: Wiring, plan: Plan, spec: Mapping[str, Any], version: ModelRow) -> Iterator[SpecProblem]:
    """Yield the parameters that shape the networks and are not what the base has."""
    tunable = w.recipes.tunable(spec["recipe"])
    if tunable is None or version.recipe != spec["recipe"]:
        return  # of code, or another package's: its run knows
    for name, value in spec["params"].items():
        if name not in tunable and value != version.config.get(name):
            message = f"params.{name} is {value!r}, and the base {version.ref} has {version.config.get(name)!r}."
            hint = f"Leave it out. What may be set otherwise: {', '.join(sorted(tunable))}."
            yield plan.problem(message, "params", hint)


def _compressed(plan: Plan, maker: Plan) -> SpecProblem:
    message = (
        f"base: what {maker.name} makes is a compressed version of {maker.publishes}, which no training starts from."
    )
    return plan.problem(message, BASE, f"Write `base: {maker.publishes}@VERSION`, of the version that it compresses.")


def _lost(plan: Plan, version: ModelRow) -> SpecProblem:
    message = f"base: the files of {version.ref} (digest {version.digest[:12]}) are not in the store any more."
    return plan.problem(message, BASE, "Bring them back, or start from another version.")
