"""The actor of one evaluate Run: it fetches a model and data, judges, and publishes what it found."""

from __future__ import annotations

import logging

from genplatform.store import Store
from genworkers.run import OneRun
from genworkers.scratch import scratch
from genworkers.stop import CANCEL, LOST

log = logging.getLogger(__name__)


class EvaluateActor(OneRun):
    """Executes one Run of an evaluate job. It keeps nothing on the way: another Run finds the same numbers anew."""

    writes_down = True

    def _work(self) -> str:
        # Heavy imports come here, so that the actor answers and beats while they run.
        import torch

        from genworkers import models
        from genworkers.context import patiently
        from genworkers.judging.report import Asked, Stopped, Watch, judge, told
        from genworkers.judging.subjects import subject_of

        order = self._order
        torch.set_num_threads(int(order["threads"]))
        store = Store(order["store_url"])
        watch = Watch(self._report, lambda: self._stop.reason is not None)
        asked = Asked(int(order["samples"]), int(order["seed"]), tuple(order["metrics"]))
        with scratch("model") as folder:
            loaded = patiently(lambda: models.load(store, order["model"], folder))
        subject = subject_of(loaded, order, self._outbox.log)
        try:
            found = judge(subject, asked, watch)
        except Stopped:
            return self._let_go(str(self._stop.reason), None)
        for line in told(found):
            self._outbox.log(line)
        self._keep_what_was_said()
        self._deliver()
        if self._stop.reason in {LOST, CANCEL}:
            return self._let_go(self._stop.reason, None)
        self._client.publish({"kind": "evaluation", **self._ids, "evaluation": found})
        log.info("evaluation_published model=%s", loaded.name)
        return "published"

    def _report(self, done: int, total: int) -> None:
        self._outbox.progress(done, total, "samples", None)
