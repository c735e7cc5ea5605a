"""`kind: generate`: make many items with a published model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from genplatform.domain.names import NAME_RULE, parse_model_ref
from genplatform.spec.common import JobSpec, SpecPart, default_of, one_of
from genplatform.spec.refusals import refuse
from genplatform.spec.words import shown

MOST_ITEMS = 10_000_000
LARGEST_BATCH = 65_536
FORMATS = ("png", "txt")
LATER_FORMATS = ("webdataset", "npz", "parquet", "jsonl", "wav", "midi", "glb")
_REF_PATTERN = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}(@[A-Za-z0-9][A-Za-z0-9._-]{0,62})?$"


def _checked_model(text: str) -> str:
    if parse_model_ref(text) is None:
        hint = f"Write NAME, NAME@3 or NAME@latest; a name has {NAME_RULE}."
        raise refuse(f"{shown(text)} is not a reference to a model", hint)
    return text


ModelReference = Annotated[
    str, AfterValidator(_checked_model), WithJsonSchema({"type": "string", "pattern": _REF_PATTERN})
]


class Output(SpecPart):
    """How the items are written."""

    format: one_of("output format", FORMATS, LATER_FORMATS) | None = Field(  # type: ignore[valid-type]
        default=None, description="The format of the files. Left out: the usual one of the model's recipe."
    )


class GenerateSpec(JobSpec):
    """Generate items with a model."""

    not_yet: ClassVar[Mapping[str, str]] = {
        "inputs": "Give count, and cond where all items are to be of one kind.",
    }

    kind: Literal["generate"] = Field(default="generate", description="Generate items with a model.")
    model: ModelReference = Field(description="The model: NAME, NAME@3 or NAME@latest.")
    count: int = Field(ge=1, le=MOST_ITEMS, description="How many items to make.")
    batch_size: int | None = Field(
        default=None,
        ge=1,
        le=LARGEST_BATCH,
        description="How many items one shard groups; never changes a byte of them.",
    )
    cond: dict[str, Any] | None = Field(
        default=None,
        description="What all items are wished to be, where the model takes that: see `genctl models show MODEL`.",
    )
    output: Output = Field(default_factory=default_of(Output()), description="How the items are written.")

    def default_name(self) -> str:
        """Return a name made of the model's."""
        return f"{self.model.partition('@')[0]}-items"
