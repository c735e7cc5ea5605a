"""The actor of one compress Run: it fetches a model, makes a smaller one, measures both, and publishes the new one."""

from __future__ import annotations

import logging

from genplatform.store import Store
from genworkers.run import OneRun
from genworkers.scratch import scratch
from genworkers.stop import CANCEL, LOST

log = logging.getLogger(__name__)


class CompressActor(OneRun):
    """Executes one Run of a compress job. It keeps nothing on the way: another Run makes the same bytes anew."""

    writes_down = True

    def _work(self) -> str:
        # Heavy imports come here, so that the actor answers and beats while they run.
        import torch

        from genworkers import models
        from genworkers.compressing.making import make, measured, told
        from genworkers.context import patiently
        from genworkers.judging.report import Stopped, Watch
        from genworkers.training.publish import put_model

        order, say = self._order, self._outbox.log
        torch.set_num_threads(int(order["threads"]))
        store = Store(order["store_url"])
        watch = Watch(self._report, lambda: self._stop.reason is not None)
        with scratch("parent") as fetched, scratch("model") as place:
            parent = patiently(lambda: models.load(store, order["model"], fetched))
            folder = place / "model"
            folder.mkdir()
            made = make(store, order, parent, fetched, folder)
            size = made.about["size"]
            say(f"{parent.name} as {order['method']}: {size['value']:,} bytes of {size['parent']:,}.")
            left = made.about["left_as_is"]
            say(f"Left as they are: {left['tensors']:,} tensors of {left['bytes']:,} bytes; its card names them.")
            try:
                speed, found = measured(order, parent, made, watch, say)
            except Stopped:
                return self._let_go(str(self._stop.reason), None)
            self._keep_what_was_said()
            self._deliver()
            model = told(order, parent, made, speed, found)
            stored = patiently(lambda: put_model(store, folder, model["key"]))
        if self._stop.reason in {LOST, CANCEL}:
            return self._let_go(self._stop.reason, None)
        body = {**model, "size": sum(one.size for one in stored)}
        name = self._client.publish({"kind": "model", **self._ids, "model": body}).get("model")
        log.info("compressed_model_published name=%s digest=%s", name, made.digest)
        return "published"

    def _report(self, done: int, total: int) -> None:
        self._outbox.progress(done, total, "samples", None)
