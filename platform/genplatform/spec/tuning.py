"""What a training starts from that is published already, and whether all of it learns or adapters alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field

from genplatform.errors import SpecProblem
from genplatform.spec.common import SpecPart
from genplatform.spec.hub import HubName, is_commit, parse_hub
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
    hub = _hub_model(data) if name in recipes.names() else None
    if hub is not None and not is_commit(hub.revision):
        message = f"params.pretrained: {str(hub)!r} may be another model whenever a run of this job starts."
        hint = f"Write hf://{hub.repository}@COMMIT, with all 40 digits that the hub shows of it."
        yield _found(message, "params", hint)
    if data.get("lora") is None:
        return
    if base is None and not _names_a_directory(data, recipes):
        message = "The job asks for adapters, which are put on a published model, and none is named."
        yield _found(message, "lora", "Say `base: NAME@VERSION` too, or name a directory where the recipe takes one.")
    elif why := recipes.no_adapters(name):
        message = f"A {shown(name)} cannot be tuned by adapters: {why}."
        yield _found(message, "lora", "Take `lora` out: the whole model goes on learning from its base.")


def _hub_model(data: Mapping[str, Any]) -> HubName | None:
    params = data.get("params")
    named = params.get("pretrained") if isinstance(params, dict) else None
    return parse_hub(named) if isinstance(named, str) else None


def _names_a_directory(data: Mapping[str, Any], recipes: RecipeBook) -> bool:
    params = data.get("params")
    if not isinstance(params, dict):
        return False
    # Which param of one's own recipe names one, its run knows.
    return params.get("pretrained") is not None or (bool(params) and data["recipe"] not in recipes.names())


def _found(message: str, path: str, hint: str) -> Found:
    return Found(SpecProblem(message, path, hint=hint), (path,))
