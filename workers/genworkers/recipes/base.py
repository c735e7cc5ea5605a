"""What a model family says about itself, so that one engine trains, samples and serves them all.

The engine owns data order, optimizer calls, checkpoints, tiles, seeds and provenance; a
recipe says how its networks are built, what one step does, and what row i of a sample is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

# What a step is given: "x" holds the items (pictures: N, channels, height, width in [-1, 1]), "label" their classes.
Batch = Mapping[str, Tensor]

Conditions = Sequence[Mapping[str, Any] | None]


class RecipeConfig(BaseModel):
    """A family's own parameters. Unknown ones are refused; what a model was made with is never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ItemShape(NamedTuple):
    """The size of one picture."""

    height: int
    width: int
    channels: int


class StepContext(Protocol):
    """What the engine offers to one training step."""

    modules: nn.ModuleDict
    step: int
    generator: torch.Generator

    def optimize(self, name: str, loss: Tensor) -> None:
        """Move the parameters of that optimizer, and no others, down the gradient of `loss`."""

    def noise(self, stream: str, shape: Sequence[int]) -> Tensor:
        """Return normal noise: a function of (seed, rank, step, stream) and the shape alone."""


C = TypeVar("C", bound=RecipeConfig)


class Recipe(ABC, Generic[C]):
    """One model family with its parameters. Holds no weights: modules are passed in."""

    name: ClassVar[str]
    summary: ClassVar[str]
    modality: ClassVar[str] = "image"
    Config: ClassVar[type[RecipeConfig]]
    cond_schema: ClassVar[type[BaseModel] | None] = None
    trainable: ClassVar[bool] = True
    formats: ClassVar[tuple[str, ...]] = ("png",)
    tile: ClassVar[int] = 64  # rows of every forward pass of a published model: what makes batches repeatable
    serve_modules: ClassVar[tuple[str, ...]] = ()  # the part of `build()` that is published

    def __init__(self, config: C) -> None:
        self.config = config

    @classmethod
    def configured(cls, params: Mapping[str, Any], shape: ItemShape | None = None) -> Recipe[C]:
        """Return the recipe with these parameters, its sizes taken from the data's `shape` where it has any.

        Raises pydantic.ValidationError for parameters that the schema refuses, and ValueError for sizes that
        are not the data's.
        """
        config = cls.Config.model_validate(dict(params))
        return cls(cls.fit_to(config, shape) if shape else config)  # type: ignore[arg-type]

    @classmethod
    def fit_to(cls, config: RecipeConfig, shape: ItemShape) -> RecipeConfig:
        """Return `config` with the data's sizes filled in; families that take none return it as it is."""
        return config

    @property
    def batch_size(self) -> int:
        """The rows of one training step, over all workers together."""
        return int(getattr(self.config, "batch_size", 64))

    def build(self) -> nn.ModuleDict:
        """Return all networks, freshly initialised from torch's own random state, each in its right mode."""
        return nn.ModuleDict()

    def optimizers(self, modules: nn.ModuleDict) -> dict[str, torch.optim.Optimizer]:
        """Return the optimizers by name. Called once for a run; the engine keeps and restores them."""
        return {}

    def step(self, batch: Batch, ctx: StepContext) -> dict[str, Tensor]:
        """Train once; return scalars to watch as detached tensors, never as numbers (that would wait for them)."""
        raise ValueError(f"The recipe {self.name} cannot be trained.")

    @abstractmethod
    def sample(self, modules: nn.ModuleDict, seeds: Tensor, cond: Conditions | None) -> Tensor:
        """Return one item a row: row i is a function of (weights, seeds[i], cond[i]).

        `seeds` is int64 in [0, 2**63). Pictures come as (rows, channels, height, width) in [-1, 1].
        """

    def encode(self, out: Tensor) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
        """Return each row's payload, whose bytes its payload digest covers: a picture's uint8 height x width x
        channels.
        """
        levels = ((out.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return list(levels.permute(0, 2, 3, 1).contiguous().cpu().numpy())
