"""All that changes while a model trains, in one object, and what the engine offers to a step.

Randomness is a function of (seed, rank, step): torch is seeded anew at every step, so that a
checkpoint holds no random state and a run that goes on makes the same numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from genworkers.recipes.base import Recipe


def stream_seed(seed: int, rank: int, step: int | str, stream: str = "") -> int:
    """Return the 63-bit seed of one random stream of one step of one rank."""
    digest = hashlib.sha256(f"{seed}:{rank}:{step}:{stream}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@dataclass
class Window:
    """Means of what a recipe's steps return, summed as tensors so that nothing waits for them."""

    sums: dict[str, Tensor] = field(default_factory=dict)
    count: int = 0

    def add(self, values: dict[str, Tensor]) -> None:
        """Add one step's scalars."""
        for name, value in values.items():
            scalar = value.detach().double()
            self.sums[name] = self.sums[name] + scalar if name in self.sums else scalar
        self.count += 1

    def take(self) -> dict[str, float]:
        """Return the means as numbers, and begin anew."""
        means = {name: total.item() / self.count for name, total in self.sums.items()} if self.count else {}
        self.sums, self.count = {}, 0
        return means


@dataclass
class TrainState:
    """Networks, optimizers, the number of steps done, and the metrics under way."""

    modules: nn.ModuleDict
    optimizers: dict[str, torch.optim.Optimizer]
    step: int = 0
    window: Window = field(default_factory=Window)
    latest: dict[str, float] = field(default_factory=dict)  # the last full window's means
    evaluated: dict[str, float] = field(default_factory=dict)  # the last evaluation's

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers that are known of the model as it stands."""
        return self.latest | self.evaluated

    @classmethod
    def fresh(cls, recipe: Recipe[Any], seed: int) -> TrainState:
        """Return the state before the first step: a function of the recipe's config and the seed."""
        torch.manual_seed(stream_seed(seed, 0, "init"))
        modules = recipe.build()
        return cls(modules, recipe.optimizers(modules))


class EngineStep:
    """The StepContext that recipes get: one object a run, set to each step by `begin`."""

    def __init__(self, state: TrainState, seed: int, rank: int) -> None:
        self.modules = state.modules
        self.step = state.step
        self.generator = torch.Generator()
        self._noise = torch.Generator()
        self._seed, self._rank = seed, rank
        self._optimizers = state.optimizers
        self._params = {
            name: [p for group in optimizer.param_groups for p in group["params"]]
            for name, optimizer in state.optimizers.items()
        }

    def begin(self, step: int) -> None:
        """Seed every source of randomness for this step."""
        self.step = step
        torch.manual_seed(stream_seed(self._seed, self._rank, step))
        self.generator.manual_seed(stream_seed(self._seed, self._rank, step, "generator"))

    def noise(self, stream: str, shape: Sequence[int]) -> Tensor:
        """Return normal noise of one named stream of this step."""
        self._noise.manual_seed(stream_seed(self._seed, self._rank, self.step, f"noise/{stream}"))
        return torch.randn(tuple(shape), generator=self._noise)

    def optimize(self, name: str, loss: Tensor) -> None:
        """Move one optimizer's parameters; gradients reach no others (several workers will reduce them here)."""
        params = self._params[name]
        for param, gradient in zip(params, torch.autograd.grad(loss, params), strict=True):
            param.grad = gradient
        optimizer = self._optimizers[name]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
