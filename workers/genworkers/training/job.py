"""What to train and how, as a spec says it and an order carries it."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from genworkers.adapters import Lora
from genworkers.data.fetching import Fetch, no_uploads, uploads_of
from genworkers.recipes.base import FirstStage
from genworkers.training.start import Start

MOST_POINTS = 200  # of a metric's curve


@dataclass(frozen=True)
class Optimization:
    """How gradients are made and followed; the defaults change nothing of what a recipe does."""

    precision: str = "fp32"
    accumulation_steps: int = 1
    max_grad_norm: float | None = None
    schedule: str = "constant"
    warmup_steps: int = 0
    min_ratio: float = 0.0
    compile: bool = False

    @property
    def is_scheduled(self) -> bool:
        """Whether learning rates change."""
        return self.schedule != "constant" or self.warmup_steps > 0

    def ratio(self, step: int, steps: int) -> float:
        """Return what a step (from 0, of `steps`) multiplies each learning rate by.

        A linear rise over the warm-up, then constant; or down to `min_ratio` at the last step along a
        line or half a cosine (Loshchilov and Hutter, 2017, without restarts).
        """
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        if self.schedule == "constant":
            return 1.0
        done = min(1.0, (step - self.warmup_steps) / max(1, steps - 1 - self.warmup_steps))
        left = 1 - done if self.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
        return self.min_ratio + (1 - self.min_ratio) * left


@dataclass(frozen=True)
class Privacy:
    """A budget of differential privacy, and the largest norm of one item's gradient."""

    epsilon: float
    delta: float
    max_grad_norm: float = 1.0


@dataclass(frozen=True)
class Target:
    """A metric that is to become better, and what counts as better."""

    metric: str
    mode: str = "min"
    min_delta: float = 0.0

    def is_better(self, value: float, than: float | None) -> bool:
        """Tell whether `value` improves on what was best until now (None: nothing was)."""
        if than is None:
            return True
        return than - value > self.min_delta if self.mode == "min" else value - than > self.min_delta


@dataclass(frozen=True)
class TrainJob:
    """What to train, as the spec says it."""

    recipe: str
    params: Mapping[str, Any]
    data: Mapping[str, Any]
    split: Mapping[str, float] | None
    steps: int  # 0 where it is told in epochs
    checkpoint_every: int
    sheet_every: int
    evaluate_every: int
    folders: Sequence[str] = ()  # whose files may be named by their paths
    fetch: Fetch = no_uploads
    epochs: int | None = None
    optimization: Optimization = field(default_factory=Optimization)
    stopping: Target | None = None
    patience: int = 0
    best: Target | None = None
    publish_best: bool = False
    first_stage: FirstStage | None = None
    start: Start = field(default_factory=Start)
    privacy: Privacy | None = None
    secret: Callable[[], str] = secrets.token_hex  # what the noise of a private training is drawn from, made anew

    @classmethod
    def from_order(
        cls, order: Mapping[str, Any], first_stage: FirstStage | None = None, base: FirstStage | None = None
    ) -> TrainJob:
        """Read it from what the engine hands to the actor, who has fetched the model that it builds on or starts from.

        An older version says nothing of some of it.
        """
        budget, kept, stopping = order["budget"], order["checkpoint"], order.get("early_stopping")
        best = kept.get("best")
        return cls(
            recipe=order["recipe"],
            params=order.get("params") or {},
            data=order["data"],
            split=order.get("split"),
            steps=int(budget.get("steps") or 0),
            epochs=budget.get("epochs"),
            checkpoint_every=int(kept["every"]),
            sheet_every=int(order["sheet_every"]),
            evaluate_every=int(order.get("evaluate_every") or order["sheet_every"]),
            folders=tuple(order.get("folders") or ()),
            fetch=uploads_of(order["store_url"], order["tenant"]),
            optimization=Optimization(**(order.get("optimization") or {})),
            stopping=Target(stopping["metric"], stopping["mode"], stopping["min_delta"]) if stopping else None,
            patience=int(stopping["patience"]) if stopping else 0,
            best=Target(best, kept["mode"]) if best else None,
            publish_best=kept.get("publish") == "best",
            first_stage=first_stage,
            start=Start(base, Lora.of(order.get("lora"))),
            privacy=Privacy(**order["privacy"]) if order.get("privacy") else None,
        )

    def with_steps(self, items: int, batch_size: int) -> TrainJob:
        """Return the job with its budget in steps: an epoch reads each of `items` once; batches go over its end."""
        return self if self.epochs is None else replace(self, steps=math.ceil(self.epochs * items / batch_size))

    def unusual(self) -> dict[str, Any]:
        """Return what else decides a training's numbers, where it is not as it always was."""
        usual = asdict(Optimization())
        how = {name: value for name, value in asdict(self.optimization).items() if value != usual[name]}
        lasts = {"steps": self.steps} if self.epochs is None else {"epochs": self.epochs}
        if self.optimization.is_scheduled:
            how |= lasts
        found = {"optimization": how} if how else {}
        # The noise follows from how long it lasts.
        return found | ({"privacy": asdict(self.privacy) | lasts} if self.privacy is not None else {})

    @property
    def metrics_every(self) -> int:
        """Steps between two points of a metric."""
        return max(1, min(self.sheet_every, math.ceil(self.steps / MOST_POINTS)))
