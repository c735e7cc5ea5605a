"""`kind: evaluate`: judge a published model; what is found is kept on the version."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema, field_validator

from genplatform.spec.common import JobSpec, Resources, Workers, default_of, worker_range
from genplatform.spec.data import Data, Split
from genplatform.spec.generate import ModelReference
from genplatform.spec.judged import Judged
from genplatform.spec.refusals import NOT_YET, refuse
from genplatform.spec.words import shown


class JudgeResources(Resources):
    """The machine of a job that judges."""

    workers: Annotated[Workers, WithJsonSchema({"const": 1})] = Field(
        default=1, description="How many workers; a model is judged by one."
    )

    @field_validator("workers")
    @classmethod
    def _one_worker(cls, workers: int | str) -> int | str:
        if worker_range(workers) != (1, 1):
            raise refuse(f"{NOT_YET}: judging on more than one worker, and this is {shown(workers)}", "Write 1.")
        return workers


class JudgingSpec(Judged, JobSpec):
    """What every kind of job says that holds a published model against data."""

    model: ModelReference = Field(description="The model: NAME, NAME@3 or NAME@latest.")
    data: Data | None = Field(
        default=None, description="What the model is held against. Left out: the data that it was trained on."
    )
    split: Split | None = Field(
        default=None,
        description="The shares of `data`: the training part is what is compared to, the others are the anchor. "
        "Left out: as the model's training split its data.",
    )
    resources: JudgeResources = Field(
        default_factory=default_of(JudgeResources()), description="The machine of the job."
    )


class EvaluateSpec(JudgingSpec):
    """Judge a model."""

    kind: Literal["evaluate"] = Field(default="evaluate", description="Judge a model by what it draws.")

    def default_name(self) -> str:
        """Return a name made of the model's."""
        return f"{self.model.partition('@')[0]}-judged"
