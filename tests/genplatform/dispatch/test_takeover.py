"""Dispatchers that stop, start again and stand by: one leads, and the work does not notice."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from dispatched import Dispatched
from hand_engine import HandEngine
from small_platform import TENANT, generate, train

from genplatform.dispatch.dispatcher import FRESH_SECONDS
from genplatform.domain.times import LEADER_LEASE_SECONDS


def test_of_two_one_leads_and_the_other_does_nothing(d: Dispatched) -> None:
    standby = d.another("d2")

    assert d.dispatcher.tick()
    assert not standby.tick()
    t = d.one(train())
    assert not standby.tick()

    assert d.state(t) == "queued"
    assert standby.term is None


def test_the_other_takes_over_when_the_first_is_gone_and_work_goes_on(d: Dispatched) -> None:
    t, g, q = d.submit("---\n".join([train("t"), generate("g"), train("q", "resources: {cpus_per_worker: 4}\n")]))
    d.tick()
    trainer = d.run_node(t)
    trainer.start()
    (worker,) = d.workers(g)
    (order,) = worker.claim()
    old = d.dispatcher.term

    d.dispatcher = d.another("d2")
    d.clock.go(LEADER_LEASE_SECONDS)
    d.go(30, beat=lambda: (trainer.heartbeat(), worker.heartbeat([order])))

    assert d.dispatcher.term == (old or 0) + 1
    assert (d.row(t).run, d.row(g).run) == (1, 1)
    assert d.engine.names() == [worker.name, trainer.key.actor]
    assert trainer.publish() == "t@1"
    assert worker.publish(order)
    worker.work()
    for name in d.engine.names():
        d.engine.die(name)
    d.go(1)
    assert (d.state(g), d.state(q)) == ("succeeded", "starting")


def test_a_round_renews_no_lease_that_was_renewed_just_now(d: Dispatched) -> None:
    def until() -> float:
        with d.w.catalog.read() as tx:
            leader = tx.leaders.current()
        assert leader is not None
        return leader.expires_at

    d.tick(2)
    renewed = until()
    d.clock.go(FRESH_SECONDS / 2)
    d.tick()
    assert until() == renewed

    d.dispatcher.renew()
    assert until() == d.clock.now + LEADER_LEASE_SECONDS
    d.clock.go(FRESH_SECONDS)
    d.tick()
    assert until() == d.clock.now + LEADER_LEASE_SECONDS


def test_an_adopted_actors_death_is_noticed(d: Dispatched) -> None:
    t = d.one(train())
    d.tick()
    d.run_node(t).start()
    d.dispatcher = d.another("d2")
    d.clock.go(LEADER_LEASE_SECONDS)
    d.tick()

    d.engine.die(f"run/{TENANT}/{t}/1")
    d.tick(2)

    assert d.row(t).run == 2


def test_what_died_while_nobody_led_is_noticed(d: Dispatched) -> None:
    t, g = d.submit(train("t") + "---\n" + generate("g"))
    d.tick()
    d.run_node(t).start()
    (worker,) = d.workers(g)
    worker.claim()
    for name in d.engine.names():
        d.engine.vanish(name)

    d.dispatcher = d.another("d2")
    d.clock.go(60)
    d.go(20)

    assert d.row(t).run == 2
    (again,) = d.workers(g)
    assert again.work() == 3


def test_one_that_lost_the_lead_while_it_paused_writes_nothing(d: Dispatched, caplog: pytest.LogCaptureFixture) -> None:
    d.tick()
    t = d.one(train())
    d.clock.go(LEADER_LEASE_SECONDS)
    other = d.another("d2")
    assert other.tick()
    assert d.row(t).run == 1

    assert not d.dispatcher.tick()
    assert not d.dispatcher.tick()

    assert d.dispatcher.term is None
    assert [record.message for record in caplog.records].count("leadership_lost") == 1
    assert d.row(t).run == 1
    assert d.engine.killed == []


def test_one_that_loses_the_lead_within_a_round_stops_there(d: Dispatched) -> None:
    d.tick()
    t = d.one(train())
    capacity = d.engine.capacity

    def overtaken(avoid: Collection[str] = ()) -> object:
        d.engine.capacity = capacity  # type: ignore[method-assign]
        d.clock.go(LEADER_LEASE_SECONDS)
        assert d.another("d2").tick(start=False)
        return capacity(avoid)

    d.engine.capacity = overtaken  # type: ignore[method-assign, assignment]

    assert not d.dispatcher.tick()

    assert d.state(t) == "queued"
    assert d.engine.names() == []


def test_one_that_comes_back_to_the_lead_goes_on(d: Dispatched) -> None:
    d.tick()
    d.clock.go(LEADER_LEASE_SECONDS)
    other = d.another("d2")
    other.tick()
    g = d.one(generate())
    other.tick()
    assert not d.dispatcher.tick()
    d.clock.go(LEADER_LEASE_SECONDS)

    d.go(1)
    (worker,) = d.workers(g)
    worker.work()
    d.tick()

    assert d.state(g) == "succeeded"


def test_a_lease_that_the_keeper_renews_is_kept_through_a_long_round(d: Dispatched) -> None:
    d.tick()
    for _ in range(10):
        d.clock.go(LEADER_LEASE_SECONDS - 1)
        d.dispatcher.renew()

    assert not d.another("d2").tick()


def test_one_that_does_not_lead_renews_nothing(d: Dispatched) -> None:
    d.dispatcher.renew()

    assert d.another("d2").tick()


def test_a_cluster_that_was_lost_is_not_the_jobs_end(d: Dispatched) -> None:
    t = d.one(train())
    d.tick()
    d.run_node(t).start()
    d.engine.table.clear()
    d.engine = HandEngine()
    d.dispatcher = d.another("d2", d.engine)
    d.clock.go(LEADER_LEASE_SECONDS)

    d.go(20)

    assert (d.state(t), d.row(t).run) == ("starting", 2)
