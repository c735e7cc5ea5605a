"""The machine's clock put forward or back by an hour: nothing that works is given up, and nothing lost is waited for.

Leases in Redis go by the time of its server, which here passes evenly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from dispatched import TICK_SECONDS, Dispatched
from small_platform import CutQueues, HandClock, generate, train

from genplatform.dispatch.hearing import SETTLE_SECONDS
from genplatform.domain.times import HEARTBEAT_SECONDS, LEASE_SECONDS, RECONCILE_SECONDS, SWEEP_SECONDS

HOUR = 3600.0
# As the platform promises: a lease, a sweep, and a little for the rounds.
RECLAIMED = LEASE_SECONDS + SWEEP_SECONDS + 3.0
TAKEN_OVER = 10.0

pytestmark = pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["forward", "back"])


class Jumping(Dispatched):
    """A dispatched platform whose Redis has a clock of its own, and whose processes have one that nobody sets."""

    def __init__(self, database: str, folder: Path) -> None:
        super().__init__(database, folder)
        self.even = HandClock(1000.0)
        self.queues = CutQueues(self.even)
        self.w = replace(self.w, queues=self.queues, monotonic=self.even)
        self.dispatcher = self.another("d1", self.engine)

    def pass_time(self, seconds: float, *beats: Callable[[], object]) -> None:
        """Let time pass on both clocks, with the dispatcher going round and workers sending heartbeats."""
        for number in range(round(seconds / TICK_SECONDS)):
            self.clock.go(TICK_SECONDS)
            self.even.go(TICK_SECONDS)
            if number % round(HEARTBEAT_SECONDS / TICK_SECONDS) == 0:
                for beat in beats:
                    beat()
            self.dispatcher.tick()


@pytest.fixture
def d(sqlite_url: str, tmp_path: Path) -> Iterator[Jumping]:
    made = Jumping(sqlite_url, tmp_path)
    yield made
    made.close()


def test_work_under_way_goes_on(d: Jumping, jump: float) -> None:
    t, g = d.submit(f"{train('t')}---\n{generate('g')}")
    d.tick()
    trainer, (worker,) = d.run_node(t), d.workers(g)
    trainer.start()
    (order,) = worker.claim()
    beats = (trainer.heartbeat, lambda: worker.heartbeat([order]))
    d.pass_time(10, *beats)

    d.clock.go(jump)
    d.pass_time(40, *beats)

    assert [(run["number"], run["state"]) for run in d.job(t)["runs"]] == [(1, "running")]
    assert [(run["number"], run["state"]) for run in d.job(g)["runs"]] == [(1, "running")]
    assert trainer.publish() == "t@1"
    assert worker.publish(order)
    worker.work()
    d.pass_time(1)
    assert (d.state(t), d.state(g)) == ("succeeded", "succeeded")


def test_a_run_is_not_charged_with_time_that_did_not_pass(d: Jumping, jump: float) -> None:
    t = d.one(train("t", "timeout: 10m\nprogress_timeout: 5m\n"))
    d.tick()
    trainer = d.run_node(t)
    trainer.start()
    trainer.report(progress={"done": 10, "total": 100, "unit": "steps"})
    d.pass_time(SETTLE_SECONDS + 5, trainer.heartbeat)

    d.clock.go(jump)
    d.pass_time(10, trainer.heartbeat)

    assert [(run["number"], run["state"]) for run in d.job(t)["runs"]] == [(1, "running")]
    assert d.engine.table[trainer.key.actor].asked == []


def test_a_worker_that_falls_silent_is_replaced_as_soon_as_ever(d: Jumping, jump: float) -> None:
    t = d.one(train())
    d.tick()
    d.run_node(t).start()
    d.pass_time(5, d.run_node(t).heartbeat)

    d.clock.go(jump)
    d.engine.table[d.row(t).run_key.actor].silent = True
    d.pass_time(RECLAIMED)

    assert [run["state"] for run in d.job(t)["runs"]] == ["lost", "starting"]


def test_a_submit_that_redis_forgot_is_found_as_soon_as_ever(d: Jumping, jump: float) -> None:
    d.pass_time(1)

    d.clock.go(jump)
    t = d.one(train())
    d.queues.wipe()
    d.pass_time(RECONCILE_SECONDS + 1)

    assert d.state(t) == "starting"


def test_a_job_that_waits_for_its_next_try_is_tried_within_the_longest_wait(d: Jumping, jump: float) -> None:
    t = d.one(train())
    for _ in range(2):
        d.tick()
        d.engine.die(d.row(t).run_key.actor)
        d.tick()
    assert d.state(t) == "waiting"

    d.clock.go(jump)
    d.pass_time(RECONCILE_SECONDS + 5)

    assert d.state(t) == "starting"


def test_the_lead_of_a_dispatcher_that_died_is_taken_over_as_soon_as_ever(d: Jumping, jump: float) -> None:
    d.pass_time(5)
    t = d.one(train())

    d.clock.go(jump)
    d.dispatcher = d.another("d2", d.engine)
    d.pass_time(TAKEN_OVER)

    assert d.dispatcher.term == 2
    assert d.state(t) == "starting"


def test_a_leader_keeps_its_lead_beside_one_that_stands_by(d: Jumping, jump: float) -> None:
    standby = d.another("d2")
    d.pass_time(5)
    standby.tick()

    d.clock.go(jump)
    for _ in range(20):
        assert not standby.tick()
        d.pass_time(TICK_SECONDS)

    assert d.dispatcher.term is not None


def test_one_that_stands_by_takes_the_lead_of_one_that_died(d: Jumping, jump: float) -> None:
    standby = d.another("d2")
    d.pass_time(5)
    standby.tick()
    t = d.one(train())

    d.clock.go(jump)
    d.dispatcher = standby
    d.pass_time(TAKEN_OVER)

    assert standby.term == 2
    assert d.state(t) == "starting"
