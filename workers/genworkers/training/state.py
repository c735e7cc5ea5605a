"""All that changes while a model trains, in one object, and what the engine offers to a step.

Randomness is a function of (seed, rank, step): torch is seeded anew at every step, so that a
checkpoint holds no random state and a run that goes on makes the same numbers.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from genworkers.recipes.base import Batch, FirstStage, Recipe
from genworkers.training.across import AcrossRows
from genworkers.training.gang import ALONE, Gang
from genworkers.training.job import Optimization
from genworkers.training.ledger import Ledger
from genworkers.training.parts import Part, parts_of
from genworkers.training.start import Start
from genworkers.training.tracking import Track

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
COMPILER = "inductor"
FROM_NOTHING = Start()


def stream_seed(seed: int, rank: int, step: int | str, stream: str = "") -> int:
    """Return the 63-bit seed of one random stream of one step of one rank."""
    digest = hashlib.sha256(f"{seed}:{rank}:{step}:{stream}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def seed_torch(seed: int) -> None:
    """Seed torch's own generators, as `torch.manual_seed` does, without looking for devices that are not in use."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed)


@dataclass
class Window:
    """Means of what a recipe's steps return, summed as tensors so that nothing waits for them."""

    sums: dict[str, Tensor] = field(default_factory=dict)
    count: int = 0

    def add(self, values: dict[str, Tensor], share: float = 1.0) -> None:
        """Add one step's scalars: means over so large a share of the step's rows."""
        for name, value in values.items():
            scalar = value.detach().double() * share
            self.sums[name] = self.sums[name] + scalar if name in self.sums else scalar
        self.count += 1

    def take(self, gang: Gang = ALONE) -> dict[str, float]:
        """Return the means as numbers, over the rows of all workers, and begin anew."""
        names = sorted(self.sums) if gang.size > 1 else list(self.sums)
        sums = gang.sums([self.sums[name] for name in names])
        means = {name: total.item() / self.count for name, total in zip(names, sums, strict=True)}
        self.sums, self.count = {}, 0
        return means

    def as_json(self) -> dict[str, Any]:
        """Return it as numbers: the sums are float64, and JSON carries those exactly."""
        return {"count": self.count, "sums": {name: total.item() for name, total in self.sums.items()}}

    @classmethod
    def of_json(cls, told: Sequence[Mapping[str, Any]], gang: Gang = ALONE) -> Window:
        """Return this worker's of what all said, by rank; where there were others than now, the leader's is the sum."""
        mine = [told[gang.rank]] if len(told) == gang.size else told if gang.leads else []
        window = cls(count=int(told[0]["count"]))
        for one in mine:
            for name, total in one["sums"].items():
                known = window.sums.get(name, torch.zeros((), dtype=torch.float64))
                window.sums[name] = known + total
        return window


Optimizers = dict[str, torch.optim.Optimizer]


def rates_of(optimizers: Optimizers) -> dict[str, list[float]]:
    """Return the learning rate of each parameter group, as the optimizers have it now."""
    return {name: [float(group["lr"]) for group in one.param_groups] for name, one in optimizers.items()}


@dataclass
class TrainState:
    """Networks, optimizers, the number of steps done, and the metrics under way."""

    modules: nn.ModuleDict
    optimizers: Optimizers
    step: int = 0
    rates: dict[str, list[float]] = field(default_factory=dict)  # the recipe's own, which a schedule multiplies
    scalers: dict[str, GradScaler] = field(default_factory=dict)  # of fp16, an optimizer each
    tracks: dict[str, Track] = field(default_factory=dict)  # of metrics that something depends on
    privacy: Ledger | None = None  # of a private training, once it has begun
    window: Window = field(default_factory=Window)
    latest: dict[str, float] = field(default_factory=dict)  # the last full window's means
    evaluated: dict[str, float] = field(default_factory=dict)  # the last evaluation's
    fixed: frozenset[str] = frozenset()  # tensors of the networks that are a base's for good

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers that are known of the model as it stands."""
        return self.latest | self.evaluated

    @classmethod
    def fresh(
        cls, recipe: Recipe[Any], seed: int, first_stage: FirstStage | None = None, start: Start = FROM_NOTHING
    ) -> TrainState:
        """Return the state before the first step: a function of the recipe's config, what it builds on and the seed."""
        torch.manual_seed(stream_seed(seed, 0, "init"))
        modules = start.networks(recipe)
        if first_stage is not None:
            recipe.adopt(modules, first_stage)
        return cls.around(recipe, modules, start)

    @classmethod
    def around(cls, recipe: Recipe[Any], modules: nn.ModuleDict, start: Start) -> TrainState:
        """Return the state of these networks, at step 0, with fresh optimizers."""
        optimizers = start.optimizers(recipe, modules)
        return cls(modules, optimizers, rates=rates_of(optimizers), fixed=start.fixed(recipe, modules))


class EngineStep:
    """The StepContext that recipes get: one object a run, set to each step by `begin`.

    With several workers (`world_size`) a step's rows are parted, and what is drawn for them and added up over them
    is what one worker would have: see `genworkers.training.gang`.
    """

    def __init__(
        self,
        state: TrainState,
        seed: int,
        rank: int,
        how: Optimization | None = None,
        steps: int = 0,
        world_size: int = 1,
    ) -> None:
        """`how` and `steps`, the length of the whole training, are what learning rates follow."""
        self.modules = state.modules
        self.step = state.step
        self._generator, self._seeded = torch.Generator(), False
        self.gradient_norms: dict[str, Tensor] = {}
        self._noise = torch.Generator()
        self._state, self._seed, self._rank = state, seed, rank
        self._how, self._steps = how or Optimization(), steps
        self._gang = Gang(rank, world_size)
        self._rows = self._gang.rows(world_size)
        self._across = AcrossRows(state.modules, self._gang) if world_size > 1 else None
        self._optimizers = state.optimizers
        self._params = {
            name: [p for group in optimizer.param_groups for p in group["params"]]
            for name, optimizer in state.optimizers.items()
        }
        self._device = next((p.device.type for params in self._params.values() for p in params), "cpu")
        if self._how.precision == "fp16":
            for name in state.optimizers:
                state.scalers.setdefault(name, GradScaler(self._device))
        if self._how.compile:
            _compile(state)
        self._measures = False
        self._part = Part()
        self._calls: Counter[str] = Counter()  # of `optimize`, by optimizer, within one part
        self._sums: dict[tuple[str, int], list[Tensor]] = {}

    def begin(self, step: int, part: Part | None = None) -> None:
        """Seed every source of randomness for this step, or for one part of it, and set the learning rates."""
        self.step, self._part = step, part or Part()
        self._calls.clear()
        seed_torch(stream_seed(self._seed, self._rank, step, self._part.stream))
        self._seeded = False
        if self._across is not None:
            # One worker takes its masks from torch's own generator.
            self._across.generator.manual_seed(stream_seed(self._seed, 0, step, self._part.stream))
            self._across.rows = self._gang.rows(len(self._part) * self._gang.size) if self._part.of else self._rows
        if self._how.is_scheduled:
            ratio = self._how.ratio(step, self._steps)
            for name, optimizer in self._optimizers.items():
                for group, rate in zip(optimizer.param_groups, self._state.rates[name], strict=True):
                    group["lr"] = rate * ratio

    @property
    def share(self) -> float:
        """This worker's share of the step's rows."""
        return self._rows.share

    def run(self, recipe: Recipe[Any], batch: Batch, *, measures: bool) -> dict[str, Tensor]:
        """Do one step of the recipe; return what it says, as means over the batch.

        With `measures`, `gradient_norms` has afterwards each optimizer's, before it is shortened.
        """
        self._measures = measures
        self.gradient_norms = {}
        if self._gang.size > 1:
            self._rows = self._gang.rows(recipe.batch_size)
        count = self._how.accumulation_steps
        if count == 1:
            self.begin(self._state.step)
            with self._autocast():
                return recipe.step(batch, self)
        return self._run_in_parts(recipe, batch, count)

    @property
    def generator(self) -> torch.Generator:
        """This worker's own randomness of this step."""
        if not self._seeded:  # where it is wanted: seeding costs more than what most steps would draw
            seed = stream_seed(self._seed, self._rank, self.step, f"generator{self._part.stream}")
            self._generator.manual_seed(seed)
            self._seeded = True
        return self._generator

    def noise(self, stream: str, shape: Sequence[int]) -> Tensor:
        """Return normal noise of one named stream of this step.

        A part of a batch gets the rows that the whole batch would have got.
        """
        return self._drawn(f"noise/{stream}", shape, lambda whole: torch.randn(whole, generator=self._noise))

    def uniform(self, stream: str, shape: Sequence[int]) -> Tensor:
        """Return numbers from [0, 1), as `noise` does normal ones."""
        return self._drawn(stream, shape, lambda whole: torch.rand(whole, generator=self._noise))

    def _drawn(self, stream: str, shape: Sequence[int], draw: Callable[[tuple[int, ...]], Tensor]) -> Tensor:
        part = self._part
        by_rows = part.of > 0 and len(shape) > 0 and shape[0] == len(part)
        suffix = "" if by_rows else part.stream
        self._noise.manual_seed(stream_seed(self._seed, 0, self.step, f"{stream}{suffix}"))
        if by_rows:
            return self._rows.draw((part.of, *shape[1:]), draw)[part.start : part.end]
        if part.of and self._gang.size > 1:
            return draw((self._gang.size, *shape))[self._gang.rank]
        return self._rows.draw(shape, draw)

    def optimize(self, name: str, loss: Tensor, weight: Tensor | None = None) -> None:
        """Move one optimizer's parameters; gradients reach no others.

        The loss is a mean over this worker's rows, or over `weight` other things of them.
        In all parts of a batch but the last, gradients are kept instead, by the number of the call.
        """
        scaler = self._state.scalers.get(name)
        if self._gang.size > 1:
            # Weighted here and not after: where layers look at all rows, a worker's loss moves the others' gradients.
            loss = loss * (self._rows.share if weight is None else weight / self._gang.sums([weight])[0].clamp(min=1))
        with torch.autocast(self._device, enabled=False) if self._how.precision in DTYPES else nullcontext():
            gradients: Sequence[Tensor] = torch.autograd.grad(
                loss if scaler is None else scaler.scale(loss), self._params[name]
            )
            if self._part.of:
                gradients = self._summed(name, gradients)
            if self._part.is_last:
                self._move(name, self._gang.sums(gradients), scaler)

    def watched(self) -> dict[str, float]:
        """Return the learning rates, and of a step that measured them the gradients' norms; waits for them."""
        found: dict[str, float] = {}
        for name, optimizer in self._optimizers.items():
            prefix = f"{name}_" if len(self._optimizers) > 1 else ""
            found[f"{prefix}learning_rate"] = float(optimizer.param_groups[0]["lr"])
            scaler = self._state.scalers.get(name)
            if scaler is not None:
                found[f"{prefix}loss_scale"] = scaler.get_scale()
            norm = self.gradient_norms.get(name)
            if norm is not None and (scaler is None or bool(norm.isfinite())):  # a step that fp16 left out has none
                found[f"{prefix}gradient_norm"] = norm.item()
        return found

    def _move(self, name: str, gradients: Sequence[Tensor], scaler: GradScaler | None) -> None:
        params, optimizer = self._params[name], self._optimizers[name]
        for param, gradient in zip(params, gradients, strict=True):
            param.grad = gradient
        if scaler is not None:
            scaler.unscale_(optimizer)
        longest = self._how.max_grad_norm
        if longest is not None or self._measures:
            norm = self.gradient_norms[name] = get_total_norm([p.grad for p in params if p.grad is not None])
            if longest is not None:
                clip_grads_with_norm_(params, longest, norm)
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)  # which leaves the step out where the scaled gradients were too large for fp16
            scaler.update()
        optimizer.zero_grad(set_to_none=True)
        if self._how.precision in DTYPES:
            torch.clear_autocast_cache()  # it holds the weights of before the move, and the step may use them again

    def _summed(self, name: str, gradients: Sequence[Tensor]) -> Sequence[Tensor]:
        call = (name, self._calls[name])
        self._calls[name] += 1
        shares = [gradient * self._part.share for gradient in gradients]
        before = self._sums.pop(call, None)
        total = shares if before is None else list(torch._foreach_add(before, shares))
        if not self._part.is_last:
            self._sums[call] = total
        return total

    def _run_in_parts(self, recipe: Recipe[Any], batch: Batch, count: int) -> dict[str, Tensor]:
        means: dict[str, Tensor] = {}
        self._sums.clear()
        followers = [t for module in self.modules.values() if not learns(module) for t in module.state_dict().values()]
        before = [tensor.clone() for tensor in followers]
        for part in parts_of(len(next(iter(batch.values()))), count):
            # Averages follow what moves once a step, however many parts it has.
            for tensor, value in zip(followers, before, strict=True):
                tensor.copy_(value)
            self.begin(self._state.step, part)
            with self._autocast():
                said = recipe.step({name: values[part.start : part.end] for name, values in batch.items()}, self)
            for name, value in said.items():
                weighted = value.detach().double() * part.share
                means[name] = means[name] + weighted if name in means else weighted
        return means

    def _autocast(self) -> AbstractContextManager[Any]:
        if self._how.precision not in DTYPES:
            return nullcontext()
        return torch.autocast(self._device, dtype=DTYPES[self._how.precision])


def _compile(state: TrainState) -> None:
    """Have the networks that learn compiled at their first pass; averages are not worth it, they only follow."""
    for module in state.modules.values():
        if learns(module):
            module.compile(backend=COMPILER)


def learns(module: nn.Module) -> bool:
    """Whether any of its parameters is trained: a moving average only follows."""
    return any(parameter.requires_grad for parameter in module.parameters())
