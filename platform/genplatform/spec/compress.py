"""`kind: compress`: a further version of a model, smaller on disk, measured beside the one it was made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import Field

from genplatform.domain.names import RESERVED_MODELS
from genplatform.errors import SpecProblem
from genplatform.spec.common import one_of
from genplatform.spec.evaluate import JudgingSpec
from genplatform.spec.recipes import RecipeBook
from genplatform.spec.words import Found, shown

# What `genworkers.compressing.weights` knows; a test holds the two equal.
METHODS = ("int8", "bf16")


class CompressSpec(JudgingSpec):
    """Compress a model."""

    kind: Literal["compress"] = Field(
        default="compress", description="Publish a smaller version of a model, measured beside the one it is made of."
    )
    method: one_of("method", METHODS) = Field(  # type: ignore[valid-type]
        description="int8: weights of layers as 8-bit numbers with a scale for each channel; "
        "bf16: parameters as bfloat16. Both are computed with in fp32."
    )

    @classmethod
    def further_problems(cls, data: Mapping[str, Any], recipes: RecipeBook) -> Iterable[Found]:
        """Refuse the built-in model, which has no weights and of which there is one version for good."""
        name = str(data.get("model", "")).partition("@")[0]
        if name.casefold() in RESERVED_MODELS:
            message = f"The built-in model {shown(name)} has no weights to compress."
            return [Found(SpecProblem(message, "model", hint="Name a model that was trained."), ("model",))]
        return []

    def default_name(self) -> str:
        """Return a name made of the model's and the method's."""
        return f"{self.model.partition('@')[0][:50]}-{self.method}"
