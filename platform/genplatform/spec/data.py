"""What a model learns from, and how that is split."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from genplatform.spec.common import SpecPart
from genplatform.spec.refusals import NOT_YET, refuse
from genplatform.spec.words import shown, suggestion

SOURCES = ("digits",)


def _checked_source(text: str) -> str:
    if text in SOURCES:
        return text
    hint = suggestion(text, SOURCES, "Possible now")
    if any(mark in text for mark in "/*.:\\"):
        raise refuse(f"{NOT_YET}: data from {shown(text)}; only built-in sources are", hint)
    raise refuse(f"there is no data source {shown(text)}", hint)


Source = Annotated[str, AfterValidator(_checked_source), WithJsonSchema({"type": "string", "enum": list(SOURCES)})]


class Data(SpecPart):
    """What a model learns from."""

    source: Source = Field(default="digits", description="Where the data is: a built-in source.")


class Split(SpecPart):
    """The shares of the data: what is learned from, what guides, what judges."""

    train: float = Field(default=0.70, gt=0, le=1, description="The share that the model learns from.")
    validation: float = Field(default=0.15, ge=0, le=1, description="The share that is looked at while it learns.")
    test: float = Field(default=0.15, ge=0, le=1, description="The share that nothing sees before the model is judged.")

    @model_validator(mode="after")
    def _whole(self) -> Split:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-6:
            raise refuse(f"its shares add up to {total:.6g}, not to 1", "Give train, validation and test, in all 1.")
        return self
