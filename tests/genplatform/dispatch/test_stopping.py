"""Stopping: cancelled work lets go or is ended; a platform that goes down keeps its work for the next time."""

from __future__ import annotations

from dispatched import Dispatched
from small_platform import TENANT, generate, train

from genplatform.domain.keys import JobKey
from genplatform.services import cancel


def running(d: Dispatched, name: str = "t", more: str = "") -> str:
    t = d.one(train(name, more))
    d.tick()
    d.run_node(t).start()
    return t


def quiet(_: float) -> None:
    raise AssertionError("nobody was to be waited for")


def test_a_cancelled_run_is_asked_and_its_word_ends_the_job(d: Dispatched) -> None:
    t = running(d)
    node = d.run_node(t)
    cancel.cancel(d.w, TENANT, t)

    d.tick(3)

    assert d.engine.table[node.key.actor].asked == ["cancel"]
    node.release("cancel", step=7)
    d.engine.die(node.key.actor)
    d.go(1)
    assert d.state(t) == "cancelled"
    assert d.engine.killed == []


def test_a_cancelled_run_that_does_not_let_go_is_ended_after_its_grace(d: Dispatched) -> None:
    t = running(d)
    actor = d.run_node(t).key.actor
    cancel.cancel(d.w, TENANT, t)

    d.go(10)
    assert d.state(t) == "cancelling"
    d.go(1)

    assert (d.state(t), d.engine.killed) == ("cancelled", [actor])


def test_a_cancelled_run_ends_though_the_engine_is_away_and_its_actor_when_it_is_back(d: Dispatched) -> None:
    t = running(d)
    node = d.run_node(t)
    cancel.cancel(d.w, TENANT, t)
    d.engine.reachable = False

    d.go(12)

    assert d.state(t) == "cancelled"
    assert [s["reason"] for s in node.heartbeat()] == ["lost"]
    d.engine.reachable = True
    d.go(6)
    assert d.engine.killed == [node.key.actor]


def test_a_cancelled_generate_job_ends_at_once_and_its_workers_are_told(d: Dispatched) -> None:
    g = d.one(generate())
    d.tick()
    (node,) = d.workers(g)
    orders = node.claim()
    cancel.cancel(d.w, TENANT, g)

    d.tick()

    assert d.state(g) == "cancelled"
    assert [s["reason"] for s in node.heartbeat(orders)] == ["lost"]
    assert not node.publish(orders[0])
    assert node.claim() == []


def test_an_engine_that_is_away_holds_no_generate_jobs_cancel_up(d: Dispatched) -> None:
    t = running(d)
    g = d.one(generate())
    d.tick()
    for job_id in (t, g):
        cancel.cancel(d.w, TENANT, job_id)
    d.engine.reachable = False

    d.tick()

    assert d.state(g) == "cancelled"


def test_a_drain_lets_runs_checkpoint_and_requeues_all_without_a_cost(d: Dispatched) -> None:
    t = running(d, more="retry: {max: 0}\n")
    node = d.run_node(t)
    g = d.one(generate(more="retry: {max: 0}\n"))
    d.tick()
    (worker,) = d.workers(g)
    worker.work(most=1)

    def wait(_: float) -> None:
        if [s["reason"] for s in node.heartbeat()] == ["shutdown"]:
            node.checkpoint(40)
            node.release("shutdown", step=40)
            d.engine.die(node.key.actor)

    d.dispatcher.drain(15, wait)

    assert (d.state(t), d.state(g)) == ("queued", "queued")
    assert [r["cause"] for r in d.job(t)["runs"] + d.job(g)["runs"]] == ["shutdown", "shutdown"]
    assert d.engine.names() == []
    assert d.queues.stops([JobKey(TENANT, t)]) == {}

    d.dispatcher = d.another("d2", d.engine)
    d.tick()

    again = d.run_node(t)
    assert [c["step"] for c in again.order["resume"]] == [40]
    again.start()
    assert again.heartbeat() == []
    assert d.workers(g)[0].work() == 2
    d.tick()
    assert d.state(g) == "succeeded"


def test_a_drain_ends_runs_that_do_not_let_go_in_time(d: Dispatched) -> None:
    t = running(d)
    actor = d.run_node(t).key.actor

    d.dispatcher.drain(3, lambda seconds: d.clock.go(1))

    assert d.engine.killed == [actor]
    assert (d.state(t), d.reason(t)) == ("queued", "shutdown")


def test_a_drain_starts_nothing_new(d: Dispatched) -> None:
    running(d)
    q = d.one(train("q"))

    d.dispatcher.drain(3, lambda seconds: d.clock.go(1))

    assert d.job(q)["runs"] == []


def test_a_drain_without_an_engine_still_requeues_all(d: Dispatched) -> None:
    t = running(d, more="retry: {max: 0}\n")
    g = d.one(generate())
    d.tick()
    d.engine.reachable = False

    d.dispatcher.drain(3, lambda seconds: d.clock.go(1))

    assert [d.reason(j) for j in (t, g)] == ["shutdown", "shutdown"]
    assert d.another("d2").tick(start=False)  # the lead was given up


def test_a_drain_without_redis_still_requeues_all(d: Dispatched) -> None:
    t = running(d)
    d.queues.reachable = False

    d.dispatcher.drain(3, lambda seconds: d.clock.go(1))

    assert (d.state(t), d.reason(t)) == ("queued", "shutdown")


def test_a_cancelled_run_is_cancelled_by_the_drain(d: Dispatched) -> None:
    t = running(d)
    cancel.cancel(d.w, TENANT, t)

    d.dispatcher.drain(3, lambda seconds: d.clock.go(1))

    assert d.state(t) == "cancelled"


def test_one_that_does_not_lead_drains_nothing(d: Dispatched) -> None:
    t = running(d)

    d.another("d2").drain(3, quiet)

    assert d.state(t) == "running"


def test_one_that_loses_the_lead_while_it_drains_leaves_the_work_to_the_other(d: Dispatched) -> None:
    t = running(d)
    other = d.another("d2")

    def wait(_: float) -> None:
        d.clock.go(6)
        other.tick()

    d.dispatcher.drain(30, wait)

    assert d.state(t) == "running"
    assert d.engine.killed == []


def test_with_nothing_to_do_a_drain_waits_for_nobody(d: Dispatched) -> None:
    d.tick()

    d.dispatcher.drain(15, quiet)

    assert d.another("d2").tick()
