"""From an order to a model: what the actor of a training Run does, and of a gang each of its workers."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from genplatform.store import Store
from genworkers.run import OneRun
from genworkers.scratch import scratch
from genworkers.stop import CANCEL, LOST, OUT_OF_TIME

if TYPE_CHECKING:
    from genworkers.context import RunContext
    from genworkers.training.loop import Trained
    from genworkers.training.trackers import Trackers

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Made:
    """What came of a training: a model in the store, and what /publish is told of it; or why it `stopped`."""

    step: int
    stopped: str | None = None
    told: Mapping[str, Any] = field(default_factory=dict)


# What trackers are told of ends without a version.
TOLD = {"cancelled": "cancelled", "released": "interrupted"}


class Trainer(OneRun):
    """Trains for a Run and publishes the model."""

    writes_down = True

    def __init__(self, order: Mapping[str, Any], *, rank: int = 0) -> None:
        super().__init__(order, rank=rank)
        self._trackers: Trackers | None = None  # once there are points to tell them

    def _work(self) -> str:
        try:
            return self._end(self._make())
        except Exception:
            self._tell_trackers("failed")
            raise

    def _end(self, made: Made) -> str:
        """Publish what was made, unless it is not wanted any more."""
        reason = made.stopped or self._stop.reason
        if made.stopped is not None or reason in {LOST, CANCEL}:
            end = self._let_go(str(reason), made.step)
            if end in TOLD:
                self._tell_trackers(TOLD[end])
            return end
        name = self._client.publish({"kind": "model", **self._ids, **made.told}).get("model")
        log.info("model_published name=%s digest=%s", name, made.told["model"]["digest"])
        self._tell_trackers("finished", name)
        return "published"

    def _tell_trackers(self, state: str, version: str | None = None) -> None:
        if self._trackers is not None:
            self._trackers.end(state, version)

    def _make(self, rank: int = 0, size: int = 1) -> Made:
        """Train, as one of `size` workers, and of the first of them store the model; nothing of it is published yet."""
        # Heavy imports come here, so that the actor answers and beats while they run.
        import torch

        from genworkers.context import Follower, PlatformContext, patiently
        from genworkers.judging.report import Stopped
        from genworkers.models import fetch_first_stage
        from genworkers.training.job import TrainJob
        from genworkers.training.loop import train
        from genworkers.training.publish import publish_model

        torch.set_num_threads(int(self._order["threads"]))
        store = Store(self._order["store_url"])
        ctx: RunContext
        if rank:
            ctx = Follower(self._order, store)
        else:
            ctx = PlatformContext(self._order, store, self._outbox, self._stop, clock=time.time)
            self._trackers = ctx.trackers
        with scratch("first-stage") as folder:
            first_stage, base = (
                patiently(partial(fetch_first_stage, store, self._order.get(field), folder))
                for field in ("first_stage", "base")
            )
        job = TrainJob.from_order(self._order, first_stage, base)
        trained = train(job, ctx, clock=time.monotonic, rank=rank, world_size=size)
        step = trained.state.step
        if trained.stopped is not None or rank:
            return Made(step, trained.stopped)
        evaluation = None
        if self._order.get("evaluate"):
            try:
                evaluation = self._judge(trained)
            except Stopped:
                if self._stop.reason not in OUT_OF_TIME:
                    return Made(step, str(self._stop.reason))
                # Another Run would judge as long: what was trained is worth more than what would be found of it.
                self._outbox.log("It was not judged: there was no time left for it.")
        self._keep_what_was_said()
        self._deliver()
        with scratch("model") as folder:
            told = publish_model(store, self._order["tenant"], self._order, trained, folder)
        told["model"]["evaluation"] = evaluation
        return Made(step, told=told)

    def _judge(self, trained: Trained) -> dict[str, Any] | None:
        """Judge the model before it is published, so that a version and what was found of it appear together."""
        from genworkers.judging.report import Watch
        from genworkers.judging.subjects import judge_trained

        watch = Watch(stopping=lambda: self._stop.reason is not None)
        found: dict[str, Any] | None = judge_trained(
            trained, self._order["evaluate"], int(self._order["seed"]), watch, self._outbox.log
        )
        return found
