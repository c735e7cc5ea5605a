"""The dispatcher's process: its lease is kept while it lives, and it goes down as it was asked to."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest
from dispatched import Dispatched
from small_platform import HandClock, generate, train

from genplatform.dispatch import process
from genplatform.dispatch.keeper import STUCK_SECONDS, Keeper
from genplatform.dispatch.process import IDLE_SECONDS, STILL_SECONDS
from genplatform.dispatch.serving import ServingController
from genplatform.engine.inline import InlineServing
from genplatform.errors import Unavailable


def test_the_lease_is_renewed_while_the_loop_comes_round_and_not_when_it_is_stuck() -> None:
    clock = HandClock()
    renewed: list[float] = []
    keeper = Keeper(lambda: renewed.append(clock.now), clock)

    assert keeper.keep()
    clock.go(STUCK_SECONDS + 1)
    assert not keeper.keep()
    keeper.came_round()
    assert keeper.keep()
    assert len(renewed) == 2


def test_a_keeper_stops_when_told() -> None:
    keeper = Keeper(lambda: None, HandClock())
    keeper.start()

    keeper.stop()

    assert "keeper" not in {t.name for t in threading.enumerate()}


@pytest.fixture
def signals() -> Iterator[None]:
    """Put the handlers back that a process sets for itself."""
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run(d: Dispatched, rounds: int, *, trouble: int = 0) -> int:
    """Run the process until it has gone round so often, the first times with Redis away; returns how often it did."""
    waited = 0

    def wait(_: float) -> bool:
        nonlocal waited
        waited += 1
        if waited == rounds:
            os.kill(os.getpid(), signal.SIGTERM)
        if waited <= trouble:
            raise Unavailable("Redis is away.")
        return True

    controller = ServingController(d.w, InlineServing())
    keeper = Keeper(d.dispatcher.renew, d.clock)
    process.run(d.dispatcher, controller, keeper, wait)
    return waited


@pytest.mark.usefixtures("signals")
def test_it_goes_round_until_it_is_told_and_then_requeues_its_work(
    d: Dispatched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "DRAIN_SECONDS", 0.0)
    t = d.one(train())

    assert run(d, 3) == 3

    assert (d.state(t), d.reason(t)) == ("queued", "shutdown")
    assert d.engine.names() == []
    assert d.another("d2").tick()


@pytest.mark.usefixtures("signals")
def test_it_outlives_what_it_cannot_reach(d: Dispatched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "TROUBLE_SECONDS", 0.0)

    assert run(d, 4, trouble=3) == 4


@pytest.mark.usefixtures("signals")
def test_one_that_stands_by_leaves_the_wakes_to_the_one_that_leads(
    d: Dispatched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "IDLE_SECONDS", 0.0)
    assert d.dispatcher.tick()
    standby = d.another("d2")
    rounds: list[bool] = []
    tick = standby.tick

    def last_of_three() -> bool:
        if len(rounds) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        rounds.append(tick())
        return rounds[-1]

    monkeypatch.setattr(standby, "tick", last_of_three)
    heard: list[float] = []

    def wait(seconds: float) -> bool:
        heard.append(seconds)
        return True

    process.run(standby, ServingController(d.w, InlineServing()), Keeper(standby.renew, d.clock), wait)

    assert (rounds, heard) == ([False] * 3, [])


@pytest.mark.usefixtures("signals")
def test_with_nothing_to_do_it_goes_round_less_often(d: Dispatched) -> None:
    waited: list[float] = []

    def wait(seconds: float) -> bool:
        waited.append(seconds)
        if len(waited) == 1:
            d.one(generate("g", count=64))
        if len(waited) == 2:
            d.workers(d.job("g")["id"])[0].work()
        if len(waited) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return True

    process.run(d.dispatcher, ServingController(d.w, InlineServing()), Keeper(d.dispatcher.renew, d.clock), wait)

    assert waited == [STILL_SECONDS, IDLE_SECONDS, IDLE_SECONDS, STILL_SECONDS]
