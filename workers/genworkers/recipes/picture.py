"""What families of pictures have in common: their size and their classes come from the data."""

from __future__ import annotations

from typing import TypeVar

import torch
from pydantic import Field
from torch import Tensor

from genworkers.recipes.base import Batch, Condition, Conditions, DataFacts, Recipe, RecipeConfig
from genworkers.recipes.fitting import ClassCondition, Classes, Side, class_rows, classed, condition_on, sized

# The stream of a row's seed that draws its class, where none is wished for.
_CLASS_STREAM = 1


class PictureConfig(RecipeConfig):
    """The size of a picture."""

    height: Side = Field(default=None, description="Taken from the data.")
    width: Side = Field(default=None, description="Taken from the data.")
    channels: int | None = Field(default=None, ge=1, le=4, description="Taken from the data.")


class ClassConfig(PictureConfig):
    """The size of a picture, and the classes that the model knows."""

    classes: Classes = Field(
        default=None, description="Names of the classes, taken from the data. An empty list: the model knows none."
    )


P = TypeVar("P", bound=PictureConfig)
K = TypeVar("K", bound=ClassConfig)


class PictureRecipe(Recipe[P]):
    """A family of pictures of one size."""

    @classmethod
    def fit_to(cls, config: RecipeConfig, data: DataFacts) -> RecipeConfig:
        """Take the pictures' size from the data; a size that was given must be the data's."""
        return sized(config, data)


class ClassRecipe(PictureRecipe[K]):
    """A family of pictures of one size, by class where the data has classes."""

    cond_schema = ClassCondition

    @classmethod
    def fit_to(cls, config: RecipeConfig, data: DataFacts) -> RecipeConfig:
        """Take the pictures' size and the classes' names from the data."""
        return classed(super().fit_to(config, data), data)

    @property
    def conditions(self) -> type[Condition] | None:
        """The classes that this model knows."""
        return condition_on(self.config.classes) if self.config.classes else None

    @property
    def class_count(self) -> int:
        """How many classes this model knows."""
        return len(self.config.classes or ())

    def labels(self, batch: Batch) -> Tensor:
        """Return each row's class as a number; zeros where the model knows none."""
        if self.config.classes:
            return batch["label"]
        return torch.zeros(len(batch["x"]), dtype=torch.long, device=batch["x"].device)

    def wished_classes(self, seeds: Tensor, cond: Conditions) -> Tensor:
        """Return each row's class as a number: wished for, or drawn from its seed; zeros where the model knows none."""
        if not self.config.classes:
            return torch.zeros(len(seeds), dtype=torch.long)
        return class_rows(self.config.classes, seeds, cond or [ClassCondition()] * len(seeds), _CLASS_STREAM)
