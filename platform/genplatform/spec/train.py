"""`kind: train`: fit a recipe to data and publish the result as a model version."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from genplatform.domain import recipe_code
from genplatform.domain.names import NAME_PATTERN, RESERVED_MODELS
from genplatform.errors import NotFound, SpecProblem
from genplatform.spec.common import MOST_STEPS, JobSpec, Name, default_of
from genplatform.spec.data import Data, Split
from genplatform.spec.generate import ModelReference
from genplatform.spec.judged import JUDGED_SCHEMA, Judged, as_judged
from genplatform.spec.optimization import Budget, Checkpoint, EarlyStopping, Optimization
from genplatform.spec.privacy import Privacy, privacy_problems
from genplatform.spec.recipes import RecipeBook
from genplatform.spec.refusals import refuse
from genplatform.spec.tuning import Lora, tuning_problems
from genplatform.spec.words import Found, shown


def _not_reserved(name: str) -> str:
    if name.casefold() in RESERVED_MODELS:
        raise refuse(f"{shown(name)} is reserved for the built-in model", "Choose another name for the model.")
    return name


def _workers_problems(name: str, machine: Any, recipes: RecipeBook) -> Iterator[Found]:
    """Yield why so many workers cannot train the recipe: a range may come to its end on any try of the job."""
    asked = machine.get("workers", 1) if isinstance(machine, Mapping) else 1
    obstacle = recipes.whole_batches(name)
    if obstacle and asked != 1:
        told = f"resources.workers is {shown(asked)}, and several workers cannot share a batch of {shown(name)}"
        problem = SpecProblem(f"{told}: {obstacle}.", "resources.workers", hint="Write 1.")
        yield Found(problem, ("resources", "workers"))


def _first_stage_problem(name: str, given: Any, recipes: RecipeBook) -> Found | None:
    wanted = recipes.first_stage(name)
    if wanted is None and given is not None:
        problem = SpecProblem(f"The recipe {shown(name)} builds on no other model.", "first_stage", hint="Take it out.")
        return Found(problem, ("first_stage",))
    if wanted is not None and given is None:
        message = f"The recipe {shown(name)} builds on a published model of the recipe {wanted}, and none is named."
        return Found(SpecProblem(message, "recipe", hint="Say `first_stage: NAME@VERSION` too."), ("recipe",))
    return None


def _recipe_problem(name: str, recipes: RecipeBook) -> SpecProblem | None:
    if recipe_code.parse(name) is not None:
        return None  # it is code, which only a Run's own process imports: its parameters are checked there
    if name not in recipes.names() and any(mark in name for mark in ":./\\"):
        hint = (
            "`genctl submit` sends the code of package.module:Class, and of ./file.py:Class, ahead by itself. "
            f"Built-in: {', '.join(recipes.names())}."
        )
        message = f"The recipe {shown(name)} is not built in, and its code was not sent."
        return SpecProblem(message, "recipe", hint=hint)
    try:
        if recipes.is_trainable(name):
            return None
    except NotFound as error:
        return SpecProblem(error.message, "recipe", hint=error.hint)
    hint = f"Generate with it: kind: generate, model: {name}@1."
    return SpecProblem(f"The recipe {shown(name)} needs no training and cannot be trained.", "recipe", hint=hint)


class TrainSpec(JobSpec):
    """Train a model."""

    kind: Literal["train"] = Field(default="train", description="Train a model.")
    recipe: Annotated[str, WithJsonSchema({"type": "string"})] = Field(
        description="The model family: a built-in name (see `genctl recipes ls`), or a recipe of your own, as "
        "package.module:Class beside the job file or ./file.py:Class, whose code `genctl submit` sends."
    )
    data: Data = Field(default_factory=default_of(Data()), description="What the model learns from.")
    split: Split = Field(default_factory=default_of(Split()), description="The shares of the data.")
    params: dict[str, Any] = Field(
        default_factory=dict, description="The recipe's own parameters: see `genctl recipes show RECIPE`."
    )
    first_stage: ModelReference | None = Field(
        default=None,
        description="The published model that a recipe of a second stage builds on: NAME@3, or the NAME that a job "
        "of `needs` publishes.",
    )
    base: ModelReference | None = Field(
        default=None,
        description="The published model that training starts from, of the same recipe: NAME@3, or the NAME that a "
        "job of `needs` publishes. Params that are not said are the base's.",
    )
    lora: Lora | None = Field(
        default=None,
        description="Train adapters of low rank on the base, and publish them alone: {rank: 8, alpha: 16}.",
    )
    budget: Budget = Field(default_factory=default_of(Budget(steps=1000)), description="How long the model learns.")
    optimization: Optimization = Field(
        default_factory=default_of(Optimization()), description="How gradients are made and followed."
    )
    privacy: Privacy | None = Field(
        default=None, description="Train with differential privacy (DP-SGD), within this budget."
    )
    early_stopping: EarlyStopping | None = Field(
        default=None, description="When a training ends before its budget does."
    )
    checkpoint: Checkpoint = Field(
        default_factory=default_of(Checkpoint()), description="When the state of training is kept."
    )
    sheet_every: int = Field(
        default=500, ge=1, le=MOST_STEPS, description="Steps between two sheets of sample pictures."
    )
    evaluate_every: int = Field(
        default=500, ge=1, le=MOST_STEPS, description="Steps between two looks at the validation part."
    )
    evaluate: Annotated[Judged | None, BeforeValidator(as_judged), WithJsonSchema(JUDGED_SCHEMA)] = Field(
        default=None,
        description="Whether the model is judged before it is published, as `kind: evaluate` does: true, or how.",
    )
    publish: Annotated[
        Name, AfterValidator(_not_reserved), WithJsonSchema({"type": "string", "pattern": NAME_PATTERN})
    ] = Field(default="", description="The model name that the result becomes a version of. Left out: the job's name.")

    @classmethod
    def further_problems(cls, data: Mapping[str, Any], recipes: RecipeBook) -> Iterable[Found]:
        """Check the recipe's name, the parameters against the recipe's schema, and a name that is published."""
        found: list[Found] = []
        name, recipe, params = data.get("name"), data.get("recipe"), data.get("params", {})
        if isinstance(name, str) and name.casefold() in RESERVED_MODELS and not data.get("publish"):
            message = f"The job {shown(name)} would publish under its own name, which is reserved."
            found.append(Found(SpecProblem(message, "name", hint="Say `publish: NAME` too."), ("name",)))
        if isinstance(recipe, str):
            problem = _recipe_problem(recipe, recipes)
            if problem is not None:
                found.append(Found(problem, ("recipe",)))
                return found
            if recipe in recipes.names():
                stage = _first_stage_problem(recipe, data.get("first_stage"), recipes)
                found.extend([stage] if stage is not None and data.get("base") is None else [])
            found.extend(tuning_problems(data, recipes))
            found.extend(privacy_problems(data, recipes))
            found.extend(_workers_problems(recipe, data.get("resources"), recipes))
            if isinstance(params, dict) and recipe in recipes.names():
                found.extend(recipes.find_in_params(recipe, params))
        return found

    def default_name(self) -> str:
        """Return the model's name, else the recipe's."""
        code = recipe_code.parse(self.recipe)
        return self.publish or (self.recipe if code is None else code.cls.lower().strip("_")[:63] or "recipe")

    def completed(self, name: str) -> TrainSpec:
        """Return the spec with `name`, publishing under it where it said nothing else."""
        if name == self.name and self.publish:
            return self
        return self.model_copy(update={"name": name, "publish": self.publish or name})
