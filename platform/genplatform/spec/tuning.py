"""What a training starts from that is published already, and whether all of it learns or adapters alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field

from genplatform.errors import SpecProblem
from genplatform.spec.common import SpecPart
from genplatform.spec.recipes import RecipeBook
from genplatform.spec.words import Found, shown

HIGHEST_RANK = 4096
MOST_TARGETS = 1000

Target = Annotated[str, Field(min_length=1, max_length=300)]


class Lora(SpecPart):
    """Adapters of low rank (LoRA; Hu et al., 2022) that learn in place of the base's own weights."""

    rank: int = Field(default=8, ge=1, le=HIGHEST_RANK, description="Rank of what is added to each layer's weights.")
    alpha: float = Field(default=16.0, gt=0, le=1e6, description="What is added is scaled by alpha / rank.")
    targets: list[Target] | None = Field(
        default=None,
        min_length=1,
        max_length=MOST_TARGETS,
        description="The layers that get adapters, by the ends of their names, such as q_proj. Left out: all linear "
        "layers and convolutions.",
    )


def tuning_problems(data: Mapping[str, Any], recipes: RecipeBook) -> Iterator[Found]:
    """Yield what is wrong with `base` and `lora` beside each other and the recipe."""
    name, base = data["recipe"], data.get("base")
    if base is not None and data.get("first_stage") is not None:
        message = "The job names a base and a first stage, and its base holds the first stage that it was built on."
        yield _found(message, "first_stage", "Take it out, or take out the base.")
    if data.get("lora") is None:
        return
    if base is None and not _names_a_directory(data, recipes):
        message = "The job asks for adapters, which are put on a published model, and none is named."
        yield _found(message, "lora", "Say `base: NAME@VERSION` too, or name a directory where the recipe takes one.")
    elif why := recipes.no_adapters(name):
        message = f"A {shown(name)} cannot be tuned by adapters: {why}."
        yield _found(message, "lora", "Take `lora` out: the whole model goes on learning from its base.")


def _names_a_directory(data: Mapping[str, Any], recipes: RecipeBook) -> bool:
    params = data.get("params")
    if not isinstance(params, dict):
        return False
    # Which param of one's own recipe names one, its run knows.
    return params.get("pretrained") is not None or (bool(params) and data["recipe"] not in recipes.names())


def _found(message: str, path: str, hint: str) -> Found:
    return Found(SpecProblem(message, path, hint=hint), (path,))
