"""What families of pictures and of classes take from the data, and how an item of a class is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, ConfigDict, Field, create_model
from torch import Tensor

from genworkers.recipes.base import Condition, DataFacts, RecipeConfig
from genworkers.recipes.randomness import uniform_rows

LARGEST_SIDE = 1024
MOST_CLASSES = 10_000
LONGEST_CLASS = 200

Side = Annotated[int, Field(ge=1, le=LARGEST_SIDE)] | None
ClassName = Annotated[str, Field(min_length=1, max_length=LONGEST_CLASS)]
Classes = Annotated[tuple[ClassName, ...], Field(max_length=MOST_CLASSES)] | None


def sized(config: RecipeConfig, data: DataFacts) -> RecipeConfig:
    """Return `config` with the data's height, width and channels; raises ValueError where it says others."""
    if data.shape is None:
        return config
    for field, size in data.shape._asdict().items():
        given = getattr(config, field)
        if given not in {None, size}:
            raise ValueError(f"params.{field} is {given}, but the data's pictures have {size}.")
    return type(config).model_validate(config.model_dump() | data.shape._asdict())


def classed(config: RecipeConfig, data: DataFacts) -> RecipeConfig:
    """Return `config` with the names of the data's classes; raises ValueError where it says others.

    An empty list in `config` stays: it asks for a model that knows none.
    """
    given = getattr(config, "classes")  # noqa: B009 - a family's own field, which mypy cannot see here
    if given is None:
        _refuse_names(data.classes)
        return type(config).model_validate(config.model_dump() | {"classes": data.classes})
    if given and given != data.classes:
        raise ValueError(f"params.classes names {len(given)} classes, and the data has {len(data.classes)}, or others.")
    return config


def _refuse_names(classes: Sequence[str]) -> None:
    if len(classes) > MOST_CLASSES:
        raise ValueError(f"The data has {len(classes):,} classes, and a model knows at most {MOST_CLASSES:,}.")
    for name in classes:
        if not 1 <= len(name) <= LONGEST_CLASS:
            raise ValueError(
                f"A class of the data has a name of {len(name):,} characters; possible are 1 to {LONGEST_CLASS}."
            )


def picture_shape(config: Any) -> tuple[int, int, int]:
    """Return channels, height and width; raises ValueError when they are not known."""
    if config.channels is None or config.height is None or config.width is None:
        raise ValueError("The size of a picture is not known: give params.height, params.width, params.channels.")
    return config.channels, config.height, config.width


def _as_name(value: Any) -> Any:
    # Where classes are numbers, YAML and people write 3 and not "3".
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


_ABOUT = "The class of the item; left out, each item's seed draws one."


class ClassCondition(Condition):
    """One of the model's classes, or any."""

    model_config = ConfigDict(validate_by_alias=True)

    class_: Annotated[str | None, BeforeValidator(_as_name)] = Field(default=None, alias="class", description=_ABOUT)


@cache
def condition_on(classes: tuple[str, ...]) -> type[ClassCondition]:
    """Return the condition that takes one of these classes and no other."""
    named: Any = Annotated[Literal[classes] | None, BeforeValidator(_as_name)]
    field = Field(default=None, alias="class", description=_ABOUT)
    return create_model("ClassCondition", __base__=ClassCondition, class_=(named, field))


def class_rows(classes: Sequence[str], seeds: Tensor, cond: Sequence[ClassCondition], stream: int) -> Tensor:
    """Return each row's class as a number: the one that is wished for, else one drawn from the row's seed."""
    drawn = (uniform_rows(seeds, (1,), stream).squeeze(1) * len(classes)).long().clamp(max=len(classes) - 1)
    numbers = {name: number for number, name in enumerate(classes)}
    wished = [None if wish.class_ is None else numbers[wish.class_] for wish in cond]
    return torch.tensor([int(d) if w is None else w for w, d in zip(wished, drawn.tolist(), strict=True)])
