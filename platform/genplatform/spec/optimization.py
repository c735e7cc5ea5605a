"""How a model is optimised, for how long, and what is kept of it on the way.

What is left out means what every job meant before it could be said: full precision, one pass a
step, gradients as they are, the recipe's own learning rates, every step of the budget.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, ValidationInfo, WithJsonSchema, field_validator

from genplatform.spec.common import MOST_STEPS, SpecPart, one_of
from genplatform.spec.refusals import refuse

MOST_EPOCHS = 1_000_000
MOST_PARTS = 65536
LONGEST_METRIC = 100

PRECISIONS = ("fp32", "bf16", "fp16")
SCHEDULES = ("constant", "linear", "cosine")
MODES = ("min", "max")

Metric = Annotated[str, Field(min_length=1, max_length=LONGEST_METRIC)]
Mode = one_of("mode", MODES)

_PUBLISHES_BEST: dict[str, Any] = {"properties": {"publish": {"const": "best"}}, "required": ["publish"]}


class Budget(SpecPart):
    """How long a model learns: steps, or epochs."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["steps"]}, {"required": ["epochs"]}]})
    not_yet: ClassVar[Mapping[str, str]] = {
        # A time limit would make the result depend on how fast the machine happened to be.
        "minutes": "Give steps or epochs: they train the same model on every machine, and minutes do not.",
    }

    steps: Annotated[int | None, WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MOST_STEPS})] = Field(
        default=None, ge=1, le=MOST_STEPS, description="Steps of the optimizer."
    )
    epochs: Annotated[int | None, WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MOST_EPOCHS})] = Field(
        default=None,
        ge=1,
        le=MOST_EPOCHS,
        validate_default=True,
        description="Instead of steps: how often every training item is read.",
    )

    @field_validator("epochs")
    @classmethod
    def _one_of_both(cls, epochs: int | None, info: ValidationInfo) -> int | None:
        if "steps" not in info.data:
            return epochs  # the steps are wrong by themselves
        if epochs is None and info.data["steps"] is None:
            raise refuse("there is neither steps nor epochs", "Say how long it learns: steps: 1000, or epochs: 20.")
        if epochs is not None and info.data["steps"] is not None:
            raise refuse("there are steps too, and only one of them can end a training", "Leave one of them out.")
        return epochs


class Checkpoint(SpecPart):
    """When the state of training is kept, to go on from after a crash, and which of it is published."""

    model_config = ConfigDict(json_schema_extra={"if": _PUBLISHES_BEST, "then": {"required": ["best"]}})

    every: int = Field(default=500, ge=1, le=MOST_STEPS, description="Steps between two checkpoints.")
    keep: int = Field(default=3, ge=1, le=1000, description="How many of the newest checkpoints are kept.")
    best: Metric | None = Field(
        default=None,
        description="A metric, such as validation_loss: the checkpoint of its best evaluation is kept in addition.",
    )
    mode: Mode = Field(default="min", description="Whether the best value of that metric is the min or the max.")  # type: ignore[valid-type]
    publish: one_of("choice", ("last", "best")) = Field(  # type: ignore[valid-type]
        default="last", description="Which state becomes the model: the last one, or that of the best checkpoint."
    )

    @field_validator("publish")
    @classmethod
    def _has_a_best(cls, publish: str, info: ValidationInfo) -> str:
        if publish == "best" and info.data.get("best", "") is None:
            raise refuse("best of what is not said", "Name a metric too: best: validation_loss.")
        return publish


class Optimization(SpecPart):
    """How gradients are made, and how far the optimizers of the recipe go along them."""

    precision: one_of("precision", PRECISIONS) = Field(  # type: ignore[valid-type]
        default="fp32",
        description="Of forward and backward passes (autocast); weights and optimizers stay in fp32. "
        "fp16 scales losses, so that small gradients are not lost.",
    )
    accumulation_steps: int = Field(
        default=1,
        ge=1,
        le=MOST_PARTS,
        description="Parts that a step's batch is read in, their gradients added up: less memory, the same batch size.",
    )
    max_grad_norm: float | None = Field(
        default=None, gt=0, description="Largest norm of each optimizer's gradient: a longer one is shortened to it."
    )
    schedule: one_of("schedule", SCHEDULES) = Field(  # type: ignore[valid-type]
        default="constant", description="How the recipe's learning rates go down from the warm-up to the last step."
    )
    warmup_steps: int = Field(
        default=0, ge=0, le=MOST_STEPS, description="Steps over which learning rates rise from zero to the recipe's."
    )
    min_ratio: float = Field(
        default=0.0, ge=0, le=1, description="Share of the recipe's learning rates that is left at the last step."
    )
    compile: bool = Field(
        default=False, description="Compile the networks with torch.compile: a slow start, then faster steps."
    )


class EarlyStopping(SpecPart):
    """When a training ends before its budget does: once evaluations show no improvement any more."""

    metric: Metric = Field(description="The metric that is watched, such as validation_loss.")
    patience: int = Field(
        default=5, ge=1, le=MOST_STEPS, description="Evaluations in a row without improvement after which it ends."
    )
    min_delta: float = Field(default=0.0, ge=0, description="Least change that counts as an improvement.")
    mode: Mode = Field(default="min", description="Whether lower (min) or higher (max) is better.")  # type: ignore[valid-type]
