"""Retry by class: each cause has its budget, what ends its worker every time is poisoned, and why is on record."""

from __future__ import annotations

import pytest
from fake_node import PoolNode
from small_platform import DIED, TENANT, SmallPlatform, generate, train

from genplatform.domain.keys import ClaimKey
from genplatform.domain.retry import Cause
from genplatform.domain.times import rfc3339
from genplatform.services import reconcile
from genplatform.services.endings import Ending, close_run

NODE_DIED = Ending(Cause.NODE_LOST, "Its node died.")
MEMORY = Ending(Cause.OUT_OF_MEMORY, "Memory ran out.")


def run_once(p: SmallPlatform, job_id: str, ending: Ending, checkpoint: int = 0) -> None:
    """Open the job's next Run, let it say its first word and perhaps save, and end it."""
    p.clock.go(100)
    reconcile.promote(p.w, p.term())
    node = p.trainer(p.open(job_id))
    node.start()
    if checkpoint:
        node.checkpoint(checkpoint)
    close_run(p.w, node.key, ending, term=p.term())


def test_a_job_that_ends_its_worker_every_time_is_poisoned(p: SmallPlatform) -> None:
    t = p.one(train())
    for _ in range(4):
        assert p.state(t) in ("queued", "waiting")
        run_once(p, t, DIED)

    error = p.job(t)["error"]
    assert (p.state(t), p.reason(t), error["code"]) == ("failed", "poisoned", "poisoned")
    assert error["message"] == (
        "It ended its worker 4 times (runs 1 to 4, on node n1); 3 tries more are allowed. Its worker died."
    )
    assert [r["cause"] for r in p.job(t)["runs"]] == ["node_lost"] * 4


@pytest.mark.parametrize("other", [NODE_DIED, MEMORY])
def test_a_job_whose_workers_also_ended_otherwise_is_not_poisoned(p: SmallPlatform, other: Ending) -> None:
    t = p.one(train(more="retry: {max: 2}\n"))
    run_once(p, t, other)
    for _ in range(3):
        if p.state(t) != "failed":
            run_once(p, t, DIED)

    code = "node_lost" if other is NODE_DIED else "poisoned"
    assert (p.state(t), p.job(t)["error"]["code"]) == ("failed", code)


def test_a_job_that_gets_further_between_its_workers_deaths_is_not_poisoned(p: SmallPlatform) -> None:
    t = p.one(train(more="retry: {max: 2}\n"))
    for n in range(3):
        run_once(p, t, DIED, checkpoint=10 + n)

    assert (p.state(t), p.job(t)["error"]["code"]) == ("failed", "node_lost")


def test_a_job_that_dies_at_the_same_place_again_is_poisoned_though_it_saved_before(p: SmallPlatform) -> None:
    t = p.one(train(more="retry: {max: 1}\n"))
    run_once(p, t, DIED, checkpoint=10)
    run_once(p, t, DIED)

    assert p.job(t)["error"]["code"] == "poisoned"


def test_one_death_is_no_poison_though_no_other_is_allowed(p: SmallPlatform) -> None:
    t = p.one(train(more="retry: {max: 0}\n"))
    run_once(p, t, DIED)

    assert p.job(t)["error"]["code"] == "node_lost"


def test_causes_have_the_budgets_that_the_job_gives_them(p: SmallPlatform) -> None:
    t = p.one(train(more="retry: {max: 3, budgets: {out_of_memory: 1, node_lost: 5}}\n"))
    for _ in range(5):
        run_once(p, t, NODE_DIED)
    run_once(p, t, MEMORY)
    assert p.state(t) == "queued"

    run_once(p, t, MEMORY)

    error = p.job(t)["error"]
    assert error["code"] == "out_of_memory"
    assert error["message"] == "Memory ran out. Try 2 of 2 after out_of_memory was the last."


def test_why_it_is_tried_again_and_when_is_on_record(p: SmallPlatform) -> None:
    t = p.one(train())
    run_once(p, t, DIED)
    run_once(p, t, MEMORY)
    run_once(p, t, MEMORY)

    job, at = p.job(t), p.row(t).run_at
    assert at is not None
    assert (job["state"], job["reason"]["code"], job["retry_at"]) == ("waiting", "backing_off", rfc3339(at))
    assert job["reason"]["message"] == f"Memory ran out. Try 3 of 4 after out_of_memory. It goes on at {rfc3339(at)}."
    said = [e["data"] for e in p.events(t, "retrying")]
    assert [(s["cause"], s["tries"], s["budget"]) for s in said] == [
        ("node_lost", 1, 3),
        ("out_of_memory", 1, 3),
        ("out_of_memory", 2, 3),
    ]
    assert said[2]["retry_at"] == rfc3339(at)
    assert said[2]["delay_seconds"] == pytest.approx(at - p.clock.now, abs=0.001)
    p.clock.go(10)
    reconcile.promote(p.w, p.term())
    assert p.job(t)["retry_at"] is None


def lose_shard(p: SmallPlatform, node: PoolNode, ending: Ending) -> None:
    """Let a worker claim its pool's first shard and end with it."""
    (order,) = node.claim()
    p.lose_claims(ClaimKey(TENANT, order["job_id"], order["run"], order["shard"], order["claim"]), ending=ending)


def test_a_shard_counts_each_cause_for_itself(p: SmallPlatform) -> None:
    g, node = p.generating(generate(more="retry: {max: 3, budgets: {out_of_memory: 1}}\n"))
    for ending in (DIED, NODE_DIED, MEMORY, DIED):
        lose_shard(p, node, ending)
        assert p.state(g) == "running"

    lose_shard(p, node, MEMORY)

    error = p.job(g)["error"]
    assert error["code"] == "out_of_memory"
    assert error["message"] == "Shard 0 (items 0 to 63) ended 2 claims without a result. Memory ran out."


def test_a_shard_that_lost_a_whole_node_among_its_workers_is_not_poisoned(p: SmallPlatform) -> None:
    g, node = p.generating(generate(more="retry: {max: 1}\n"))
    lose_shard(p, node, NODE_DIED)
    lose_shard(p, node, DIED)

    assert (p.state(g), p.job(g)["error"]["code"]) == ("failed", "node_lost")


def test_making_room_costs_a_shard_nothing(p: SmallPlatform) -> None:
    g, node = p.generating(generate(more="retry: {max: 0}\n"))
    for _ in range(9):
        lose_shard(p, node, Ending(Cause.PREEMPTED, "Its node was taken away."))

    assert p.state(g) == "running"
    assert p.shards(g)[0].failures == 0


def test_a_shard_that_may_not_be_tried_again_ends_its_job_with_its_first_worker(p: SmallPlatform) -> None:
    g, node = p.generating(generate(more="retry: {on: [out_of_memory]}\n"))

    lose_shard(p, node, DIED)

    assert (p.state(g), p.job(g)["error"]["code"]) == ("failed", "node_lost")


def test_a_poisoned_job_costs_the_others_of_its_pool_nothing(p: SmallPlatform) -> None:
    poison, node = p.generating(generate("poison"))
    innocent = p.one(generate("innocent"))
    p.open(innocent)
    lost = 0
    while p.state(poison) != "failed":
        (order,) = node.claim()
        if order["job_id"] == poison:
            p.lose_claims(ClaimKey(TENANT, poison, order["run"], order["shard"], order["claim"]))
            lost += 1
        else:
            assert node.publish(order)

    node.work()
    assert (p.job(poison)["error"]["code"], lost) == ("poisoned", 4)
    assert {(s.state, s.failures) for s in p.shards(innocent)} == {("published", 0)}
