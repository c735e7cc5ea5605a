"""How good a model is on the validation part: the recipe's own metrics, as means over rows it does not learn from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from genworkers.data.dataset import Dataset
from genworkers.recipes.base import Recipe
from genworkers.training.state import TrainState, stream_seed

PREFIX = "validation_"
# Rows that are looked at while training goes on, always the same ones; the last evaluation looks at all.
ROWS_UNDER_WAY = 1024


class EngineEvaluation:
    """The EvaluationContext that recipes get. Noise is a function of the run's seed and the batch's number.

    So each evaluation of a run uses the same noise, and what changes between two of them is the model.
    """

    def __init__(self, state: TrainState, seed: int) -> None:
        self.modules = state.modules
        self.step = state.step
        self._seed = seed
        self._noise = torch.Generator()
        self._batch = 0

    def begin(self, batch: int) -> None:
        """Seed every source of randomness for this batch."""
        self._batch = batch
        torch.manual_seed(stream_seed(self._seed, batch, "evaluation"))

    def noise(self, stream: str, shape: Sequence[int]) -> Tensor:
        """Return normal noise of one named stream of this batch."""
        self._noise.manual_seed(stream_seed(self._seed, self._batch, "evaluation", f"noise/{stream}"))
        return torch.randn(tuple(shape), generator=self._noise)


def evaluate(recipe: Recipe[Any], state: TrainState, dataset: Dataset, indices: Tensor, seed: int) -> dict[str, float]:
    """Return the recipe's metrics on these rows; empty where it has none, or there are no rows. Changes nothing."""
    sums: dict[str, Tensor] = {}
    ctx = EngineEvaluation(state, seed)
    with at_rest(state.modules), torch.no_grad():
        for number, rows in enumerate(torch.split(indices, recipe.batch_size) if len(indices) else ()):
            ctx.begin(number)
            for name, value in recipe.evaluate(dataset.rows(rows), ctx).items():
                weighted = value.detach().double() * len(rows)
                sums[name] = sums[name] + weighted if name in sums else weighted
    means = {name: total.item() / len(indices) for name, total in sums.items()}
    return {f"{PREFIX}{name}": value for name, value in recipe.measures(means).items()}


@contextmanager
def at_rest(modules: nn.ModuleDict) -> Iterator[None]:
    """Hold every module in its evaluation mode, then put each back into its own."""
    modes = [(module, module.training) for module in modules.modules()]
    modules.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
