"""What a model family says about itself, so that one engine trains, samples and serves them all.

The engine owns data order, optimizer calls, checkpoints, tiles, seeds and provenance; a
recipe says how its networks are built, what one step does, and what row i of a sample is.
It sees tensors and numbers: no path, no file, no process, no other machine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from genworkers.images import MIME, Payload, encode_png, pictures

# What a step is given: "x" holds the items (pictures: N, channels, height, width in [-1, 1]; tokens: N, length),
# "label" their classes, and, where the data has pairs, "source" the pictures that they are to be made of.
Batch = Mapping[str, Tensor]

# Params that mean the same in all families, and are of the training or of the drawing, and not of the networks.
TUNABLE = (
    *("batch_size", "beta1", "beta2", "class_dropout", "dropout", "ema_decay", "guidance", "learning_rate"),
    *("sampling_steps", "weight_decay"),
)

IMAGE = "image"
AUDIO = "audio"
TEXT = "text"


class RecipeConfig(BaseModel):
    """A family's own parameters. Unknown ones are refused; what a model was made with is never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Condition(BaseModel):
    """What one item is wished to be. Every field has a default, so that a model can be asked for just anything."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# One a row. None: the model takes none.
Conditions = Sequence[Any] | None


class ItemShape(NamedTuple):
    """The size of one picture."""

    height: int
    width: int
    channels: int


class SoundShape(NamedTuple):
    """The length of one sound, and how many of its samples make a second."""

    samples: int
    rate: int


class DataFacts(NamedTuple):
    """What a recipe may take from the data before it builds: what an item is, its size, the names of the classes.

    `source` is the size of the picture that each item is to be made of, where the data has pairs.
    """

    modality: str = IMAGE
    shape: ItemShape | None = None
    classes: tuple[str, ...] = ()
    source: ItemShape | None = None
    sound: SoundShape | None = None


class FirstStage(NamedTuple):
    """The published model that a training builds on or starts from: its digest, and what was published of it.

    `data_digest` is of what it has learned of itself, where that is known.
    """

    digest: str
    recipe: Recipe[Any]
    modules: nn.ModuleDict
    data_digest: str | None = None


class File(NamedTuple):
    """One item as a file: its bytes, what they are, how such a file's name ends, and what else is told of it."""

    data: bytes
    mime: str
    extension: str
    told: Mapping[str, Any] = MappingProxyType({})


class EvaluationContext(Protocol):
    """What the engine offers while validation data is looked at: nothing learns, every module is in its eval mode."""

    modules: nn.ModuleDict
    step: int

    def noise(self, stream: str, shape: Sequence[int]) -> Tensor:
        """Return normal noise: a function of what is under way, `stream` and the shape alone."""


class StepContext(EvaluationContext, Protocol):
    """What the engine offers to one training step.

    A step may be the work of several workers, each with a part of the rows. `noise` and `uniform` are functions of
    (seed, step, stream, shape), a row each of the whole batch's, so that any number of workers makes the same model;
    so do dropout and BatchNorm as modules. `generator`, and torch's own, are a worker's own.
    """

    @property
    def generator(self) -> torch.Generator:
        """What other randomness of the step is drawn from."""

    def uniform(self, stream: str, shape: Sequence[int]) -> Tensor:
        """Return numbers from [0, 1), as `noise` does normal ones."""

    def optimize(self, name: str, loss: Tensor, weight: Tensor | None = None) -> None:
        """Move the parameters of that optimizer, and no others, down the gradient of `loss`.

        `loss` is a mean over the rows, or over other things of them, of which `weight` says how many there are.
        """


C = TypeVar("C", bound=RecipeConfig)


class Recipe(ABC, Generic[C]):
    """One model family with its parameters. Holds no weights: modules are passed in."""

    name: ClassVar[str]
    summary: ClassVar[str]
    modality: ClassVar[str] = IMAGE
    Config: ClassVar[type[RecipeConfig]]
    cond_schema: ClassVar[type[Condition] | None] = None
    trainable: ClassVar[bool] = True
    worker_dependent: ClassVar[str] = ""  # why another number of workers makes another model, where it does
    whole_batches: ClassVar[str] = ""  # why a batch that is read in parts would teach it otherwise, where it would
    # Why DP-SGD cannot be: nothing for a family whose step moves one optimizer once, down a loss of the rows, and which
    # learns nothing of the data in any other way.
    privacy_obstacle: ClassVar[str] = "it does not say that all it learns of an item is in one loss"
    formats: ClassVar[tuple[str, ...]] = ("png",)  # of files, the usual one first
    tile: ClassVar[int] = 64  # rows of every forward pass of a published model: what makes batches repeatable
    serve_modules: ClassVar[tuple[str, ...]] = ()  # the part of `build()` that is published
    averages: ClassVar[Mapping[str, str]] = MappingProxyType({})  # networks that follow one that learns: which one
    tunable: ClassVar[tuple[str, ...]] = TUNABLE  # params that a training may set otherwise than its base
    pretrained_param: ClassVar[str | None] = None  # which param names a directory that training may start from
    pretrained_folder: ClassVar[str] = ""  # where in such a directory the network lies, if not in it itself
    no_adapters: ClassVar[str] = ""  # why adapters on a published model cannot teach it, where they cannot
    asset_names: ClassVar[tuple[str, ...]] = ()  # files that `prepare` makes; kept with checkpoints and versions
    assets_of_data: ClassVar[tuple[str, ...]] = ()  # those of them that are made anew for other data
    assets: Mapping[str, bytes] = MappingProxyType({})  # those files, once they are made or read
    first_stage: ClassVar[str | None] = None  # the recipe of the model that this one builds on, where it does

    def __init__(self, config: C) -> None:
        self.config = config

    @classmethod
    def configured(
        cls,
        params: Mapping[str, Any],
        data: DataFacts | None = None,
        first_stage: FirstStage | None = None,
        base: FirstStage | None = None,
    ) -> Recipe[C]:
        """Return the recipe with these parameters, and with what it takes from data and first stage where they are.

        With a `base`, what is not said is as the base has it. Raises pydantic.ValidationError for parameters that
        the schema refuses, and ValueError for those that are not the data's or the base's, and for a first stage that
        is not of the recipe that it should be.
        """
        config = cls.Config.model_validate(dict(params)) if base is None else cls._continuing(base, params)
        if data is None:
            return cls(config)  # type: ignore[arg-type]
        if data.modality != cls.modality:
            raise ValueError(f"The recipe {cls.name} learns from {cls.modality} data, and this is {data.modality}.")
        fitted = cls.fit_to(config, data)
        if base is not None:
            made = cls(fitted)  # type: ignore[arg-type]
            made.assets = {k: v for k, v in base.recipe.assets.items() if k not in cls.assets_of_data}
            return made
        cls._check_first_stage(first_stage)
        if first_stage is not None:
            fitted = cls.fit_to_first_stage(fitted, first_stage)
        return cls(fitted)  # type: ignore[arg-type]

    @classmethod
    def _continuing(cls, base: FirstStage, params: Mapping[str, Any]) -> RecipeConfig:
        if base.recipe.name != cls.name:
            raise ValueError(f"The base is of the recipe {base.recipe.name}, and the job's recipe is {cls.name}.")
        theirs = base.recipe.config.model_dump(mode="json")
        config = cls.Config.model_validate(theirs | dict(params))
        ours = config.model_dump(mode="json")
        for name in params:
            if name not in cls.tunable and ours[name] != theirs.get(name):
                raise ValueError(f"params.{name} is {ours[name]!r}, and the base has {theirs.get(name)!r}.")
        return config

    @classmethod
    def _check_first_stage(cls, given: FirstStage | None) -> None:
        name = given.recipe.name if given is not None else None
        if name == cls.first_stage:
            return
        if cls.first_stage is None:
            raise ValueError(f"It builds on no first stage, and the job names one, of the recipe {name}.")
        raise ValueError(
            f"It builds on a model of the recipe {cls.first_stage}, and the job's first_stage "
            f"{f'is of {name}' if name else 'names none'}."
        )

    @classmethod
    def fit_to(cls, config: RecipeConfig, data: DataFacts) -> RecipeConfig:
        """Return `config` with what the data tells filled in; families that take nothing return it as it is."""
        return config

    @classmethod
    def fit_to_first_stage(cls, config: RecipeConfig, first: FirstStage) -> RecipeConfig:
        """Return `config` with what the first stage tells filled in, so that `build` needs nothing else to know."""
        return config

    @classmethod
    def of_files(
        cls, params: Mapping[str, Any], files: Mapping[str, bytes], tensors: dict[str, Tensor]
    ) -> tuple[Recipe[Any], nn.ModuleDict]:
        """Return what a directory that `pretrained_param` names is: the recipe, and the networks that are published.

        `files` are its small files by name, `tensors` those of its weights. Raises ValueError for what it cannot be.
        """
        raise ValueError(f"The recipe {cls.name} starts from no directory.")

    def adopt(self, modules: nn.ModuleDict, first: FirstStage) -> None:
        """Fill the networks that have the names of the first stage's with its weights; called before the first step."""
        for name, network in first.modules.items():
            if name in modules:
                modules[name].load_state_dict(network.state_dict())

    @property
    def batch_size(self) -> int:
        """The rows of one training step, over all workers together."""
        return int(getattr(self.config, "batch_size", 64))

    @property
    def conditions(self) -> type[Condition] | None:
        """What an item of a model with this config may be wished to be; narrower than `cond_schema`, or None."""
        return self.cond_schema

    def prepare(self, texts: Iterable[str]) -> dict[str, bytes]:
        """Return the files of `asset_names`, made of the training part and of nothing else, before anything is built.

        `texts` may be gone through more than once. The engine puts what is returned into `assets`, keeps it with
        every checkpoint and version, and never asks again for a run or a model that has them.
        """
        return {}

    def build(self) -> nn.ModuleDict:
        """Return all networks, freshly initialised from torch's own random state, each in its right mode."""
        return nn.ModuleDict()

    def optimizers(self, modules: nn.ModuleDict) -> dict[str, torch.optim.Optimizer]:
        """Return the optimizers by name. Called once for a run; the engine keeps and restores them."""
        return {}

    def step(self, batch: Batch, ctx: StepContext) -> dict[str, Tensor]:
        """Train once; return scalars to watch as detached tensors, never as numbers (that would wait for them)."""
        raise ValueError(f"The recipe {self.name} cannot be trained.")

    def evaluate(self, batch: Batch, ctx: EvaluationContext) -> dict[str, Tensor]:
        """Return scalars that tell how good the model is on rows it does not learn from: means over the rows."""
        return {}

    def asked(self, batch: Batch) -> list[dict[str, Any]] | None:
        """Return what to wish for, a row each, so that what is made can be held beside the rows; None: not possible."""
        return None

    def measures(self, means: Mapping[str, float]) -> dict[str, float]:
        """Return what is told of the means of `evaluate` over all rows: for measures that are no means themselves."""
        return dict(means)

    def slots(self, modules: nn.ModuleDict, count: int) -> Any:
        """Return so many slots in which items grow step by step (`slots.Slots`); None where `sample` makes them whole.

        A sequential family's text of one seed and wish is the same from a slot and from `sample`.
        """
        return None

    def beginning(self, seed: int, wish: Any) -> Any:
        """Return what an item of that seed and wish begins with, for the `prefill` of a slot."""
        raise ValueError(f"The recipe {self.name} makes its items whole.")

    @abstractmethod
    def sample(self, modules: nn.ModuleDict, seeds: Tensor, cond: Conditions) -> Tensor:
        """Return one item a row: row i is a function of (weights, seeds[i], cond[i]).

        `seeds` is int64 in [0, 2**63); `cond` holds objects of `conditions`. Pictures come as
        (rows, channels, height, width) in [-1, 1].
        """

    def payloads(self, out: Tensor) -> list[Payload]:
        """Return each row of a sample decoded, as an array whose bytes its payload digest covers.

        A picture's is uint8 height x width x channels; a text's, its UTF-8 bytes.
        """
        if self.modality != IMAGE:
            raise ValueError(f"The recipe {self.name} does not say what its {self.modality} payloads are.")
        return pictures(out)

    def encode(self, payload: Payload, form: str, origin: Mapping[str, Any]) -> File:
        """Return one item as a file of one of `formats`, with `origin`, what it was made of, inside where it can be.

        The same arguments give the same bytes.
        """
        if self.modality != IMAGE or form != "png":
            raise ValueError(f"The recipe {self.name} does not say how to write {form}.")
        return File(encode_png(payload, origin), MIME, "png")
