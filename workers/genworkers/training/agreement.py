"""What the workers of one run agree on: what they can share, where they begin, when they stop, and equal networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from genplatform.errors import BadRequest, Unavailable
from genworkers.recipes.base import Recipe
from genworkers.training.gang import Gang
from genworkers.training.state import TrainState

# How long, about, a wish to stop waits to be heard by all; a message at every step would cost more than most steps.
HEARD_WITHIN = 0.25
MOST_STEPS = 1_000


class Agreement:
    """When to stop: the leader hears it, and all stop before the same step."""

    def __init__(
        self, gang: Gang, should_stop: Callable[[], str | None], clock: Callable[[], float], step: int
    ) -> None:
        self._gang, self._should_stop, self._clock = gang, should_stop, clock
        self._next = step
        self._before = (step, clock())

    def should_stop(self, step: int) -> str | None:
        """Return why to stop before this step, or None. Steps come in order, the same ones for every worker."""
        if self._gang.size == 1:
            return self._should_stop()
        if step < self._next:
            return None
        reason, ahead = self._gang.told([self._should_stop(), self._ahead(step)])
        self._next = step + int(ahead)
        return None if reason is None else str(reason)

    def _ahead(self, step: int) -> int:
        """Return in how many steps to ask again: as many as seem to take HEARD_WITHIN, and at most double the last."""
        (before, then), now = self._before, self._clock()
        self._before = (step, now)
        done = step - before
        return max(1, min(2 * done, MOST_STEPS, int(done * HEARD_WITHIN / max(now - then, 1e-9))))


def refuse_unshared(gang: Gang, recipe: Recipe[Any]) -> None:
    """Raise BadRequest where the workers cannot share the recipe's batches."""
    if gang.size > 1 and recipe.whole_batches:
        raise BadRequest(
            f"The recipe {recipe.name} shares no batch among {gang.size} workers: {recipe.whole_batches}.",
            "Ask for one worker: resources.workers: 1.",
        )
    if recipe.batch_size < gang.size:
        raise BadRequest(
            f"A batch of {recipe.batch_size} has no row for each of {gang.size} workers.",
            "Raise params.batch_size, or ask for fewer workers.",
        )


def refuse_other_starts(gang: Gang, step: int) -> None:
    """Raise Unavailable, on every worker, when they do not all begin at the same step."""
    steps = gang.all(step)
    if len(set(steps)) > 1:
        told = ", ".join(f"{one:,}" for one in steps)
        raise Unavailable(f"The workers could not read the same checkpoint; by rank they would begin at steps {told}.")


def refuse_drift(gang: Gang, state: TrainState) -> None:
    """Raise BadRequest, on every worker, when one holds a network that is not the others' to the bit."""
    if gang.size == 1:
        return
    sums = {name: _bits(tensor) for name, tensor in state.modules.state_dict().items()}
    everyone = gang.all(list(sums.values()))
    for place, name in enumerate(sums):
        if len({told[place] for told in everyone}) > 1:
            raise BadRequest(
                f"The {gang.size} workers hold different values of {name} at step {state.step:,}: the recipe "
                "changes it by a worker's own rows alone.",
                "Train it on one worker, or change it through ctx.optimize, BatchNorm or a moving average only.",
            )


def _bits(tensor: Tensor) -> int:
    """Return a sum over the tensor's bits that a change of one of them changes."""
    data = tensor.detach().contiguous().view(-1).view(torch.uint8)
    if len(data) % 8 == 0:
        return int(data.view(torch.int64).sum())
    return int(data.long().sum())
