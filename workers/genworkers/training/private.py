"""Differentially private training (DP-SGD; Abadi et al., 2016): a step learns of each item a bounded, noisy bit.

    items of a step     each by itself with the same chance (Poisson), as the accounting of `ledger` takes it to be
    of each item        its own pass: the gradient of its loss alone, shortened to `max_grad_norm`
    of the step         the sum of these and Gaussian noise, over the number of items that are to be expected

The passes are taken one item at a time. So an item's part of the loss cannot depend on another's, whatever the recipe's
networks are, and what a recipe draws for an item is of that item alone; what it costs is the speed of a batch. Nothing
else that was computed of the training part leaves a step: its means are not told. All that is drawn follows from the
ledger's secret and the step, so that a training that goes on from a checkpoint goes on to the bit, and no one else can
draw it again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import get_total_norm

from genplatform.errors import BadRequest
from genworkers.recipes.base import Batch, Recipe
from genworkers.training.gang import Gang
from genworkers.training.job import Privacy, TrainJob
from genworkers.training.ledger import Ledger, noise_for
from genworkers.training.state import EngineStep, TrainState, learns, stream_seed

METRIC = "privacy_epsilon"


class PoissonOrder:
    """Which items each step reads: every one with the same chance, whatever the others do. As `dataset.Order`."""

    def __init__(self, indices: Tensor, rate: float, secret: str) -> None:
        self.indices = indices
        self._rate, self._secret = rate, secret

    def batch(self, step: int, rank: int = 0, world_size: int = 1) -> Tensor:
        """Return the indices of one step (from 0); where that is none, one that is read and must not count."""
        chosen = self._chosen(step)
        return self.indices[chosen] if bool(chosen.any()) else self.indices[:1]

    def is_empty(self, step: int) -> bool:
        """Whether a step has no item."""
        return not bool(self._chosen(step).any())

    def epochs(self, step: int, rank: int = 0, world_size: int = 1) -> Tensor:
        """Return the step for each index of `batch`: there are no epochs, and augmentation is drawn anew by it."""
        return torch.full((len(self.batch(step)),), step)

    def _chosen(self, step: int) -> Tensor:
        chances = _generator(self._secret, step, "sample").random(len(self.indices))
        return torch.from_numpy(chances < self._rate)


class PrivateStep(EngineStep):
    """The StepContext of a private training; for one optimizer, which is moved once a step."""

    def __init__(self, state: TrainState, job: TrainJob, wish: Privacy, order: PoissonOrder) -> None:
        assert state.privacy is not None  # noqa: S101 - `begin` has made it
        super().__init__(state, 0, 0, job.optimization, job.steps)  # each item has a seed of its own
        self._wish, self._ledger, self._sampled = wish, state.privacy, order
        self._expected = self._ledger.sample_rate * len(order.indices)
        self._summed_up: list[Tensor] = []
        self._moved = self._is_last = False
        self._counts = 1.0

    def run(self, recipe: Recipe[Any], batch: Batch, *, measures: bool) -> dict[str, Tensor]:
        """Do one step on what its order reads, an item at a time; what the recipe says of the items is not told."""
        self._measures, self.gradient_norms = measures, {}
        self._summed_up = []
        self._counts = 0.0 if self._sampled.is_empty(self._state.step) else 1.0
        followers = [t for module in self.modules.values() if not learns(module) for t in module.state_dict().values()]
        before = [tensor.clone() for tensor in followers]
        buffers = {name: buffer.clone() for name, buffer in self._buffers()}
        items = self._sampled.batch(self._state.step).tolist()
        for row, item in enumerate(items):
            # Averages follow what moves once a step, however many items it has.
            for tensor, value in zip(followers, before, strict=True):
                tensor.copy_(value)
            # By the item and not by its place: one item more must not change what is drawn for the others.
            self._seed = stream_seed(0, 0, f"item {item}", self._ledger.secret)
            self.begin(self._state.step)
            self._moved, self._is_last = False, row == len(items) - 1
            recipe.step({name: values[row : row + 1] for name, values in batch.items()}, self)
            if not self._moved:
                raise BadRequest(
                    f"The recipe {recipe.name} did not move its optimizer in a step, which privacy asks for.",
                    "Leave `privacy` out.",
                )
        changed = [name for name, now in self._buffers() if name not in buffers or not torch.equal(now, buffers[name])]
        if changed:
            raise BadRequest(
                f"The recipe {recipe.name} changed {changed[0]} in a step, which is published without noise.",
                "Leave `privacy` out, or keep what is seen of items out of the buffers of networks that learn.",
            )
        self._ledger.steps += 1
        return {}

    def optimize(self, name: str, loss: Tensor, weight: Tensor | None = None) -> None:
        """Keep one item's gradient, shortened; with the last item's, move the parameters down all of them and noise."""
        if self._moved:
            raise BadRequest(
                "The recipe moves its optimizer more than once a step: an item would count so often.",
                "Leave `privacy` out.",
            )
        self._moved = True
        gradients = torch.autograd.grad(loss, self._params[name])
        norm = get_total_norm(gradients)
        if bool(norm.isfinite()):
            factor = (self._wish.max_grad_norm / norm.clamp(min=1e-12)).clamp(max=1.0) * self._counts
            kept = [gradient * factor for gradient in gradients]
        else:  # it would be all that is left of the sum: the item counts as none
            kept = [torch.zeros_like(gradient) for gradient in gradients]
        self._summed_up = kept if not self._summed_up else list(torch._foreach_add(self._summed_up, kept))
        if self._is_last:
            self._move(name, self._noised(self._summed_up), None)

    def watched(self) -> dict[str, float]:
        """Return what is watched, and what of the budget is spent."""
        return super().watched() | {METRIC: self._ledger.epsilon(self._wish.delta)}

    def _buffers(self) -> list[tuple[str, Tensor]]:
        learning = [(name, module) for name, module in self.modules.items() if learns(module)]
        return [found for name, module in learning for found in module.named_buffers(name)]

    def _noised(self, sums: Sequence[Tensor]) -> list[Tensor]:
        drawn = _generator(self._ledger.secret, self._state.step, "noise")
        deviation = self._ledger.noise_multiplier * self._wish.max_grad_norm
        return [
            (total + deviation * torch.as_tensor(drawn.standard_normal(tuple(total.shape))).to(total)) / self._expected
            for total in sums
        ]


def begin(
    job: TrainJob, recipe: Recipe[Any], state: TrainState, train: Tensor, data_digest: str, gang: Gang
) -> PoissonOrder:
    """Begin or go on with a private training: see that it can be one, and return what its steps read.

    `train` are the indices to train on, of the data with that digest. A state without a ledger gets one, with the noise
    that keeps all of the job's steps within the budget. Raises BadRequest for a training that cannot be private.
    """
    wish = job.privacy
    assert wish is not None  # noqa: S101 - the caller looked
    _refuse(job, recipe, state, gang)
    for what, earlier in (("base", job.start.base), ("first_stage", job.first_stage)):
        if earlier is not None and earlier.data_digest == data_digest:
            raise BadRequest(
                f"The model that `{what}` names has learned of the same items, and what it tells of them stays.",
                "Start from one of other data, or from nothing.",
            )
    rate = recipe.batch_size / len(train)
    if rate > 1:
        raise BadRequest(
            f"A step is to read {recipe.batch_size:,} items, and there are {len(train):,} to train on.",
            "Lower params.batch_size.",
        )
    if wish.delta >= 1 / len(train):
        raise BadRequest(
            f"privacy.delta is {wish.delta}: of {len(train):,} items one could be told whole.",
            f"Give less than {1 / len(train):.1g}; a tenth of that is usual.",
        )
    if state.privacy is None:
        state.privacy = Ledger(job.secret(), noise_for(wish.epsilon, wish.delta, rate, job.steps), rate)
    return PoissonOrder(train, rate, state.privacy.secret)


def said(job: TrainJob, state: TrainState) -> str:
    """Return what a private training is, for its log."""
    ledger, wish = state.privacy, job.privacy
    assert ledger is not None and wish is not None  # noqa: S101, PT018 - of private trainings
    return (
        f"Private: each item has a chance of {ledger.sample_rate:.3g} to be in a step, its gradient is at most "
        f"{wish.max_grad_norm:g} long, and noise of {ledger.noise_multiplier:.3g} times that is added; "
        f"{job.steps:,} steps stay within epsilon {wish.epsilon:g} at delta {wish.delta:g}."
    )


def items_seed(state: TrainState) -> int:
    """Return what items are changed by (`data.augment`) in a private training, once it has begun."""
    assert state.privacy is not None  # noqa: S101 - `begin` has made it
    return stream_seed(0, 0, "augment", state.privacy.secret)


def spent(job: TrainJob, state: TrainState) -> dict[str, Any] | None:
    """Return what a card says of a private training; None of any other."""
    ledger, wish = state.privacy, job.privacy
    if ledger is None or wish is None:
        return None
    alone = job.start.base is None and job.first_stage is None
    return {
        "epsilon": ledger.epsilon(wish.delta),
        "delta": wish.delta,
        "asked_epsilon": wish.epsilon,
        "max_grad_norm": wish.max_grad_norm,
        "noise_multiplier": ledger.noise_multiplier,
        "sample_rate": ledger.sample_rate,
        "steps": ledger.steps,
        "accountant": "Renyi divergences (opacus, RDPAccountant)",
        "of": "one item of the training part, added or removed; items are drawn by Poisson sampling"
        + ("" if alone else "; of this training alone, and not of what it started from"),
    }


def _refuse(job: TrainJob, recipe: Recipe[Any], state: TrainState, gang: Gang) -> None:
    normed = [name for name, module in state.modules.named_modules() if isinstance(module, _BatchNorm)]
    running = [name for name, one in state.modules.named_modules() if getattr(one, "track_running_stats", False)]
    obstacles = (
        (bool(recipe.privacy_obstacle), recipe.privacy_obstacle),
        (bool(normed), f"{(normed or [''])[0]} is BatchNorm, which mixes items"),
        (bool(running), f"{(running or [''])[0]} keeps running statistics of the items, without noise"),
        (len(state.optimizers) != 1, f"it has {len(state.optimizers)} optimizers"),
        (gang.size > 1, f"it has {gang.size} workers"),
        (job.optimization.precision != "fp32", "its gradients are added up in fp32"),
        (job.optimization.accumulation_steps > 1 or job.optimization.compile, "its batches are read item by item"),
        (job.optimization.max_grad_norm is not None, "privacy.max_grad_norm shortens gradients already"),
    )
    why = next((reason for is_so, reason in obstacles if is_so), None)
    if why is not None:
        raise BadRequest(f"The recipe {recipe.name} cannot be trained with privacy: {why}.", "See docs/privacy.md.")


def secret_seed(secret: str, step: int, what: str) -> int:
    """Return the 256-bit seed of what is drawn of a secret for one step."""
    return int.from_bytes(hashlib.sha256(f"{secret}/{step}/{what}".encode()).digest(), "big")


def _generator(secret: str, step: int, what: str) -> np.random.Generator:
    # NumPy's, which takes all of the seed: PyTorch's on CPUs takes 32 bits, and so few can be tried one by one.
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(secret_seed(secret, step, what))))
