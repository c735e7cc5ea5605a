"""A small platform with a dispatcher over an engine moved by hand: time passes in ticks, nodes speak when told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fake_node import PoolNode, TrainNode
from hand_engine import HandEngine
from small_platform import API_URL, TENANT, SmallPlatform

from genplatform.dispatch.dispatcher import Dispatcher
from genplatform.domain.times import HEARTBEAT_SECONDS

TICK_SECONDS = 0.5


class Dispatched(SmallPlatform):
    """The platform, its engine, and the dispatcher that is told to tick."""

    def __init__(self, database: str, folder: Path) -> None:
        super().__init__(database, folder)
        self.engine = HandEngine()
        self.dispatcher = self.another("d1", self.engine)

    def another(self, holder: str, engine: HandEngine | None = None) -> Dispatcher:
        """Return a further dispatcher; by default over an engine of its own on the same cluster."""
        return Dispatcher(self.w, engine or HandEngine(of=self.engine), holder, API_URL)

    def tick(self, times: int = 1) -> None:
        """Let the dispatcher go round."""
        for _ in range(times):
            self.dispatcher.tick()

    def go(self, seconds: float, beat: Callable[[], object] | None = None) -> None:
        """Let time pass with the dispatcher going round in it, and `beat` as often as workers do."""
        until = self.clock.now + seconds
        beaten = self.clock.now
        while self.clock.now < until:
            self.clock.go(TICK_SECONDS)
            if beat is not None and self.clock.now - beaten >= HEARTBEAT_SECONDS:
                beat()
                beaten = self.clock.now
            self.dispatcher.tick()

    def run_node(self, job_id: str) -> TrainNode:
        """Return what the actor of a job's current Run would say."""
        actor = self.engine.table[self.row(job_id).run_key.actor]
        node = TrainNode(self.w, actor.order)
        node.node = actor.node
        return node

    def workers(self, job_id: str) -> list[PoolNode]:
        """Return the workers of a generate job's pool."""
        names = self.engine.names(f"pool/{TENANT}/{self.row(job_id).pool}/")
        return [PoolNode(self.w, self.engine.table[name].order, name) for name in names]

    def term(self, holder: str = "") -> int:
        """Return the dispatcher's own term: tests that drive it open no Runs beside it."""
        return super().term(holder or "d1")
