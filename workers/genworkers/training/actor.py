"""The actor of one training Run: it wires loop, store and platform."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from genplatform.store import Store
from genworkers.run import OneRun
from genworkers.scratch import scratch
from genworkers.stop import CANCEL, LOST, OUT_OF_TIME

if TYPE_CHECKING:
    from genworkers.context import PlatformContext
    from genworkers.training.loop import Trained

log = logging.getLogger(__name__)


class RunActor(OneRun):
    """Executes one Run of a train job."""

    writes_down = True

    def _work(self) -> str:
        # Heavy imports come here, so that the actor answers and beats while they run.
        import torch

        from genworkers.context import PlatformContext

        torch.set_num_threads(int(self._order["threads"]))
        store = Store(self._order["store_url"])
        ctx = PlatformContext(self._order, store, self._outbox, self._stop, clock=time.time)
        try:
            end = self._train(store, ctx)
        except Exception:
            ctx.trackers.end("failed")
            raise
        if end == "cancelled":
            ctx.trackers.end("cancelled")
        return end

    def _train(self, store: Store, ctx: PlatformContext) -> str:
        from genworkers.context import patiently
        from genworkers.judging.report import Stopped
        from genworkers.models import fetch_first_stage
        from genworkers.training.job import TrainJob
        from genworkers.training.loop import train
        from genworkers.training.publish import publish_model

        with scratch("first-stage") as folder:
            first_stage, base = (
                patiently(partial(fetch_first_stage, store, self._order.get(field), folder))
                for field in ("first_stage", "base")
            )
        trained = train(TrainJob.from_order(self._order, first_stage, base), ctx, clock=time.monotonic)
        if trained.stopped is not None:
            return self._let_go(trained.stopped, trained.state.step)
        evaluation = None
        if self._order.get("evaluate"):
            try:
                evaluation = self._judge(trained)
            except Stopped:
                if self._stop.reason not in OUT_OF_TIME:
                    return self._let_go(str(self._stop.reason), trained.state.step)
                # Another Run would judge as long: what was trained is worth more than what would be found of it.
                self._outbox.log("It was not judged: there was no time left for it.")
        self._keep_what_was_said()
        self._deliver()
        with scratch("model") as folder:
            told = publish_model(store, self._order["tenant"], self._order, trained, folder)
        if self._stop.reason in {LOST, CANCEL}:
            return self._let_go(self._stop.reason, trained.state.step)
        told["model"]["evaluation"] = evaluation
        name = self._client.publish({"kind": "model", **self._ids, **told}).get("model")
        log.info("model_published name=%s digest=%s", name, told["model"]["digest"])
        ctx.trackers.end("finished", name)
        return "published"

    def _judge(self, trained: Trained) -> dict[str, Any] | None:
        """Judge the model before it is published, so that a version and what was found of it appear together."""
        from genworkers.judging.report import Watch
        from genworkers.judging.subjects import judge_trained

        watch = Watch(stopping=lambda: self._stop.reason is not None)
        found: dict[str, Any] | None = judge_trained(
            trained, self._order["evaluate"], int(self._order["seed"]), watch, self._outbox.log
        )
        return found
