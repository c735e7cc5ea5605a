"""What evaluations decide: which of them was the best, and whether there is any use in going on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from genplatform.errors import BadRequest
from genworkers.training.job import Target


@dataclass
class Track:
    """The best value of one metric until now. Part of the training's state: a run that goes on knows it."""

    value: float | None = None
    step: int = 0
    without: int = 0  # evaluations since then, none of them better

    def look(self, target: Target, metrics: Mapping[str, float], step: int) -> bool:
        """Take note of an evaluation; tell whether it is the best. Raises BadRequest where there is no such metric."""
        value, known = metrics.get(target.metric), ", ".join(sorted(metrics)) or "none"
        if value is None:
            raise BadRequest(
                f"There is no metric {target.metric!r} at step {step}; there are: {known}.",
                "Name one of these in early_stopping.metric and checkpoint.best; validation metrics need a recipe that "
                "has them, and a part to validate on.",
            )
        if not target.is_better(value, self.value):
            self.without += 1
            return False
        self.value, self.step, self.without = value, step, 0
        return True

    def as_json(self) -> dict[str, Any]:
        """Return it as a checkpoint keeps it."""
        return asdict(self)
