"""The actor of one training Run: it trains by itself, or drives the workers who do."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from genplatform.errors import BadRequest
from genworkers.scratch import scratch
from genworkers.stop import LOST
from genworkers.training.trainer import Made, Trainer

log = logging.getLogger(__name__)


class RunActor(Trainer):
    """Executes one Run of a train job: in this process, or, where its order names a gang, by several workers."""

    def __init__(self, order: Mapping[str, Any]) -> None:
        self._gang: Mapping[str, Any] | None = order.get("gang")
        # Its workers are 0 to n - 1 in the log, and who drives them comes after.
        super().__init__(order, rank=self._gang["workers"] if self._gang else 0)
        # Of a gang, it is the first worker that keeps what is said.
        self.writes_down = self._gang is None

    def _work(self) -> str:
        return super()._work() if self._gang is None else self._drive(self._gang)

    def _drive(self, gang: Mapping[str, Any]) -> str:
        import ray

        from genworkers.training.trackers import Trackers

        try:
            from genworkers.training.member import work
            from genworkers.training.ray_gang import Asked, GangFailed, run_gang
        except ImportError as error:
            raise BadRequest(
                f"Training on {gang['workers']} workers needs Ray Train, and it cannot be loaded: {error}",
                "Install genctl[train] on the nodes, or ask for one worker.",
            ) from error

        # The first worker tells them its points, and who drives it how it ended.
        self._trackers = Trackers(self._order, self._outbox.log)
        self._outbox.log(f"Placing {gang['workers']} workers, each with CPUs: {gang['cpus']:g}.")
        config = {"order": self._order, "driver": ray.get_runtime_context().current_actor}
        try:
            with scratch("gang") as folder:
                made = run_gang(Asked(**gang), work, config, self._order["actor"].replace("/", "-"), folder)
        except GangFailed as failed:
            if self._stop.reason == LOST:
                return "lost"
            self._tell_trackers("failed")
            log.error("gang_failed rank=%s: %s", failed.rank, failed.failure.message)
            return self._fail(failed.failure, said=failed.said)
        return self._end(Made(**made))
