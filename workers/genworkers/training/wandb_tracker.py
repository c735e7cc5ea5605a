"""Weights & Biases, which `WANDB_API_KEY` opens, or which `WANDB_MODE=offline` has written to `WANDB_DIR`.

A job is one of its runs, under the job's id, however often the job is tried. The other variables are its own too, such
as `WANDB_PROJECT` (by default `genctl`), `WANDB_ENTITY` and `WANDB_BASE_URL`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from genplatform.errors import Unavailable
from genworkers.scratch import scratch
from genworkers.training.eventfiles import Point
from genworkers.training.trackers import described

PROJECT = "genctl"
INIT_SECONDS = 20.0
FINISH_SECONDS = 20.0  # its own default is to wait without end for what it has not sent


def named(node: Mapping[str, str]) -> bool:
    """Tell whether a node's environment opens it."""
    mode = node.get("WANDB_MODE", "online" if node.get("WANDB_API_KEY") else "disabled")
    return mode in {"online", "offline"}


class WandB:
    """The run of one job. Raises Unavailable without the extra, and whatever wandb raises."""

    def __init__(self, order: Mapping[str, Any], node: Mapping[str, str]) -> None:
        try:
            import wandb
        except ImportError as error:
            raise Unavailable("wandb is not installed on this node.", "pip install 'genctl[wandb]'.") from error
        self._place = ExitStack()
        folder = node.get("WANDB_DIR") or str(self._place.enter_context(scratch("wandb")))
        self._run = wandb.init(
            project=node.get("WANDB_PROJECT", PROJECT),
            id=order["job_id"],
            name=order["name"],
            resume="allow",
            config=described(order),
            dir=folder,
            settings=wandb.Settings(
                console="off",
                silent=True,
                disable_git=True,
                init_timeout=INIT_SECONDS,
                finish_timeout=FINISH_SECONDS,
                finish_timeout_raises=True,
            ),
        )

    def tell(self, points: Sequence[Point]) -> None:
        """Add the points. Of steps that an earlier try told already it takes no second word."""
        for point in points:
            self._run.log(dict(point.values), step=point.step)

    def end(self, state: str, version: str | None) -> None:
        """Close the run; a later try of its job opens it again."""
        if version is not None:
            self._run.summary["genctl.model"] = version
        self._run.finish(exit_code=0 if state in {"finished", "interrupted"} else 1)
        self._place.close()
