"""One worker of a gang: the same loop in each, and what the first one does for all."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import ray
from ray.exceptions import RayError

from genworkers.failures import explain
from genworkers.stop import LOST
from genworkers.training.ray_gang import GangFailed
from genworkers.training.trainer import Made, Trainer

log = logging.getLogger(__name__)

ASK_SECONDS = 0.2
# A worker that fails has so long to say so before its gang ends: who drives it says it again to the platform.
LAST_WORD_SECONDS = 10.0


def work(config: Mapping[str, Any]) -> dict[str, Any]:
    """Train as one of the gang and return what it made, as JSON. Raises GangFailed."""
    place = ray.train.get_context()
    return asdict(Member(config["order"], place.get_world_rank(), place.get_world_size()).work(config["driver"]))


class Member(Trainer):
    """The worker of a `rank`, from 0. Begin, heartbeat and end of the Run are the driver's to tell.

    The first reports, saves and makes the model; the others say no more than where they are and why they failed.
    """

    def __init__(self, order: Mapping[str, Any], rank: int, size: int) -> None:
        super().__init__(order, rank=rank)
        self.rank, self.size = rank, size

    def work(self, driver: Any) -> Made:
        """Train, and return what was made, when all that is to be said of it is; raises GangFailed."""
        self._outbox.start()
        if self.rank == 0:
            threading.Thread(target=self._listen, args=(driver,), name="listening", daemon=True).start()
        with ExitStack() as until_the_end:
            if self.rank == 0:
                self._transcript = self._begin_transcript(until_the_end)
            try:
                self._outbox.log(f"Worker {self.rank} of {self.size} is on {self._node}.")
                made = self._make(self.rank, self.size)
                if made.stopped != LOST:
                    self._tell_trackers("interrupted")  # how the Run ends, its driver tells
                    self._keep_what_was_said()
                    self._deliver()
            except BaseException as error:
                raise self._failed(error) from None
            finally:
                self._over.set()
                self._outbox.close()
                self._client.close()
        return made

    def _failed(self, error: BaseException) -> GangFailed:
        log.exception("worker_failed rank=%d", self.rank)
        failure = explain(error, "the run's log (genctl logs)")
        said = self._stop.reason != LOST and self._say(failure, LAST_WORD_SECONDS)
        return GangFailed(failure, self.rank, said)

    def _listen(self, driver: Any) -> None:
        """Hear from the driver when to stop; one that is gone takes the whole gang with it."""
        while not self._over.wait(ASK_SECONDS):
            try:
                reason = ray.get(driver.ping.remote()).get("stop")
            except RayError:
                log.warning("driver_not_reached")
                continue
            if reason is not None:
                self.stop(reason)
