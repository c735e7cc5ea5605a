"""Stalled runs: a worker that lives and gets no further is given up, and one that cannot be heard never is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from dispatched import Dispatched
from fake_node import TrainNode
from small_platform import generate, train

from genplatform.dispatch.hearing import SETTLE_SECONDS, Hearing
from genplatform.dispatch.limits import GRACE_SECONDS
from genplatform.domain.keys import JobKey

LIMIT = 60.0
LIMITED = f"progress_timeout: {LIMIT:.0f}\n"
KEY = JobKey("default", "j_2222222222")


def running(d: Dispatched, more: str = LIMITED) -> TrainNode:
    job_id = d.one(train(more=more))
    d.tick()
    node = d.run_node(job_id)
    node.start()
    return node


def asked(d: Dispatched, node: TrainNode) -> list[str]:
    return d.engine.table[node.key.actor].asked


def step(node: TrainNode, done: int) -> None:
    node.report(progress={"done": done, "total": 100, "unit": "steps"})


def test_a_run_that_gets_no_further_is_asked_ended_and_tried_again(d: Dispatched) -> None:
    node = running(d)
    t = node.key.job_id

    d.go(LIMIT, beat=node.heartbeat)
    assert (d.state(t), asked(d, node)) == ("running", [])
    d.go(2, beat=node.heartbeat)
    assert asked(d, node) == ["stalled"]
    d.go(GRACE_SECONDS + 1, beat=node.heartbeat)

    run = d.job(t)["runs"][0]
    assert (d.engine.killed, d.row(t).run) == ([node.key.actor], 2)
    assert (run["state"], run["cause"]) == ("failed", "stalled")
    assert run["message"].startswith("It got no further for 1m, its `progress_timeout`.")
    assert [e["data"]["cause"] for e in d.events(t, "retrying")] == ["stalled"]


def test_a_worker_that_lets_go_when_asked_spends_a_try_all_the_same(d: Dispatched) -> None:
    node = running(d, f"{LIMITED}retry: {{budgets: {{stalled: 0}}}}\n")
    d.go(LIMIT + 2, beat=node.heartbeat)

    node.release("stalled", step=7)

    error = d.job(node.key.job_id)["error"]
    assert (error["code"], d.state(node.key.job_id)) == ("stalled", "failed")
    assert "It stopped at step 7 as asked." in error["message"]


@pytest.mark.parametrize(
    "further",
    [
        step,
        lambda node, n: node.checkpoint(n),
        lambda node, n: step(node, 50 - n),  # gone on from a checkpoint that lies before the last run's end
    ],
    ids=["steps", "checkpoints", "steps from further back"],
)
def test_whatever_gets_further_starts_the_clock_again(
    d: Dispatched, further: Callable[[TrainNode, int], object]
) -> None:
    node = running(d)

    for n in range(1, 6):
        d.go(LIMIT - 5, beat=node.heartbeat)
        further(node, n)

    assert (d.state(node.key.job_id), asked(d, node)) == ("running", [])


def test_saying_the_same_again_is_no_progress(d: Dispatched) -> None:
    node = running(d)
    step(node, 3)
    d.tick()

    d.go(LIMIT + 2, beat=lambda: (node.heartbeat(), step(node, 3)))

    assert asked(d, node) == ["stalled"]


def test_a_job_that_says_nothing_has_an_hour(d: Dispatched) -> None:
    node = running(d, more="")

    d.clock.go(3540)
    d.go(55, beat=node.heartbeat)
    assert asked(d, node) == []
    d.go(20, beat=node.heartbeat)

    assert asked(d, node) == ["stalled"]


def test_a_takeover_does_not_start_the_clock_again(d: Dispatched) -> None:
    node = running(d)
    d.go(LIMIT - 20, beat=node.heartbeat)
    d.clock.go(6)
    other = d.another("d2")

    for _ in range(int(SETTLE_SECONDS + 5)):
        d.clock.go(1)
        node.heartbeat()
        other.tick()

    assert asked(d, node) == ["stalled"]


def test_while_redis_is_away_nothing_stalls_and_what_was_done_meanwhile_counts(d: Dispatched) -> None:
    node = running(d)
    d.go(10, beat=node.heartbeat)
    d.queues.reachable = False

    d.go(2 * LIMIT)
    d.queues.reachable = True
    d.go(SETTLE_SECONDS - 5, beat=node.heartbeat)
    assert asked(d, node) == []
    step(node, 5)
    d.go(LIMIT - 5, beat=node.heartbeat)

    assert (d.state(node.key.job_id), asked(d, node)) == ("running", [])


def test_a_run_that_gets_no_further_once_redis_is_back_is_given_up_then(d: Dispatched) -> None:
    node = running(d)
    d.queues.reachable = False
    d.go(2 * LIMIT)
    d.queues.reachable = True

    d.go(SETTLE_SECONDS + 5, beat=node.heartbeat)

    assert asked(d, node) == ["stalled"]


def test_while_the_api_is_away_nothing_stalls_whoever_leads(d: Dispatched) -> None:
    node = running(d)

    d.go(3 * LIMIT)  # the worker answers the engine, and none of its heartbeats arrives
    d.clock.go(6)
    other = d.another("d2")
    for _ in range(int(4 * SETTLE_SECONDS)):
        d.clock.go(1)
        other.tick()

    assert (d.state(node.key.job_id), asked(d, node), d.engine.killed) == ("running", [], [])


def test_an_engine_that_does_not_answer_ends_no_run_as_stalled(d: Dispatched) -> None:
    node = running(d)
    d.engine.reachable = False

    d.go(2 * LIMIT, beat=node.heartbeat)

    assert (d.state(node.key.job_id), d.row(node.key.job_id).run) == ("running", 1)
    d.engine.reachable = True
    d.go(1, beat=node.heartbeat)
    assert asked(d, node) == ["stalled"]


def test_a_generate_job_whose_workers_get_no_further_is_tried_again_by_others(d: Dispatched) -> None:
    g = d.one(generate(more=f"{LIMITED}resources: {{workers: 2}}\n"))
    d.tick()
    stuck, other = d.workers(g)
    orders = [*stuck.claim(), *other.claim()]

    d.go(LIMIT + 2, beat=lambda: [n.heartbeat([o]) for n, o in zip((stuck, other), orders, strict=True)])

    assert d.engine.killed == sorted([stuck.name, other.name])
    assert [r["cause"] for r in d.job(g)["runs"]] == ["stalled", None]
    assert {s.failures for s in d.shards(g)} == {0}
    d.go(10)
    for node in d.workers(g):
        node.work()
    d.tick()
    assert d.state(g) == "succeeded"


def test_a_generate_job_that_publishes_now_and_then_is_not_stalled(d: Dispatched) -> None:
    g = d.one(generate(more=f"{LIMITED}resources: {{workers: 2}}\n"))
    d.tick()
    slow, other = d.workers(g)
    (held,) = slow.claim()
    (order,) = other.claim()

    d.go(LIMIT - 5, beat=lambda: (slow.heartbeat([held]), other.heartbeat([order])))
    assert other.publish(order)
    d.go(LIMIT - 5, beat=lambda: slow.heartbeat([held]))

    assert slow.publish(held)
    assert d.row(g).run == 1


def test_a_generate_job_of_which_no_worker_has_a_shard_waits_and_is_not_stalled(d: Dispatched) -> None:
    g = d.one(generate(more=LIMITED))
    d.tick()
    (node,) = d.workers(g)
    node.work(most=1)

    d.go(LIMIT + 5)
    assert (d.state(g), d.row(g).run) == ("running", 1)
    (order,) = node.claim()
    d.go(LIMIT - 5, beat=lambda: node.heartbeat([order]))
    assert d.row(g).run == 1
    d.go(10, beat=lambda: node.heartbeat([order]))

    assert d.row(g).run == 2


def test_nothing_is_heard_before_it_has_been_listened_for_a_while() -> None:
    hearing = Hearing()
    hearing.folded(100.0)

    assert not hearing.hears(KEY, 100.0 + SETTLE_SECONDS - 1)
    assert hearing.hears(KEY, 100.0 + SETTLE_SECONDS)


def test_one_jobs_lost_heartbeats_say_nothing_of_another() -> None:
    hearing = Hearing()
    hearing.folded(0.0)
    hearing.unheard({KEY}, 100.0)

    assert not hearing.hears(KEY, 110.0)
    assert hearing.hears(JobKey("default", "j_3333333333"), 110.0)
    assert hearing.hears(KEY, 100.0 + SETTLE_SECONDS)


@pytest.mark.parametrize("event", [Hearing.deaf, Hearing.take_over])
def test_a_break_is_followed_by_a_while_of_listening(event: Callable[[Hearing], None]) -> None:
    hearing = Hearing()
    hearing.folded(0.0)
    event(hearing)
    hearing.folded(100.0)

    assert not hearing.hears(KEY, 110.0)
    assert hearing.hears(KEY, 100.0 + SETTLE_SECONDS)
