"""What the record says stands open is what Redis and the dispatcher are given again."""

from __future__ import annotations

import pytest
from small_platform import TENANT, SmallPlatform, generate, train

from genplatform.domain.job import Reason
from genplatform.domain.keys import ClaimKey, JobKey, ShardKey
from genplatform.errors import LostLeadership
from genplatform.services import cancel, reconcile


def test_standing_are_the_queued_and_those_with_a_run(p: SmallPlatform) -> None:
    queued, waiting, starting = p.submit(
        "---\n".join([train("q"), generate("w", more="needs: [q]\n"), train("s", "priority: 9\n")])
    )
    p.open(starting)
    p.trained("done")

    assert p.line() == [queued]
    assert [j.job_id for j in reconcile.open_jobs(p.w)] == [starting]
    assert waiting not in {j.job_id for j in reconcile.open_jobs(p.w)}


def test_of_what_the_intake_says_only_queued_jobs_are_believed(p: SmallPlatform) -> None:
    queued, waiting = p.submit(train("q") + "---\n" + generate("w", more="needs: [q]\n"))
    keys = [JobKey(TENANT, j) for j in (waiting, queued, "j_2222222222")] + [JobKey("other", queued)]

    assert [j.job_id for j in reconcile.queued(p.w, keys)] == [queued]


def test_after_a_wipe_redis_gets_back_leases_offers_and_flags(p: SmallPlatform) -> None:
    starting, cancelled = p.submit(train("s") + "---\n" + train("c"))
    runs = [p.open(starting).key, p.open(cancelled).key]
    cancel.cancel(p.w, TENANT, cancelled)
    g, node = p.generating()
    node.claim()
    p.queues.wipe()

    reconcile.restore(p.w, reconcile.open_jobs(p.w))

    claim = ClaimKey(TENANT, g, 1, 0, 1)
    assert p.queues.missing([*runs, claim]) == []
    assert p.queues.offered(node.pool) == 2
    assert p.queues.stops([JobKey(TENANT, cancelled)]) == {JobKey(TENANT, cancelled): "cancel"}
    p.clock.go(30)
    assert set(p.queues.expired(10)) == {claim, runs[1]}  # a run that starts has longer


def test_what_redis_has_is_left_as_it_is(p: SmallPlatform) -> None:
    node = p.trainer(p.open(p.one(train())))
    node.start()
    p.clock.go(9)

    reconcile.restore(p.w, reconcile.open_jobs(p.w))
    p.clock.go(2)

    assert p.queues.expired(10) == [node.key]


def test_shards_that_fell_out_of_redis_are_offered_again(p: SmallPlatform) -> None:
    g, node = p.generating()
    p.queues.take_shards(node.pool, 2)  # taken by an API that died before the claim

    reconcile.restore(p.w, reconcile.open_jobs(p.w))

    assert p.queues.take_shards(node.pool, 9) == [ShardKey(TENANT, g, 1, n) for n in range(3)]


def test_each_job_of_a_pool_gets_its_offers_back(p: SmallPlatform) -> None:
    g, node = p.generating()
    h, _ = p.generating(generate("h", count=64 * 2))
    p.queues.withdraw(node.pool, JobKey(TENANT, h))

    reconcile.restore(p.w, reconcile.open_jobs(p.w))

    assert {s.job_id for s in p.queues.take_shards(node.pool, 9)} == {g, h}


def test_nothing_of_a_cancelled_job_is_offered(p: SmallPlatform) -> None:
    g, node = p.generating()
    cancel.cancel(p.w, TENANT, g)
    p.queues.wipe()

    reconcile.restore(p.w, reconcile.open_jobs(p.w))

    assert p.queues.offered(node.pool) == 0


def test_without_redis_nothing_is_restored_and_nothing_breaks(p: SmallPlatform) -> None:
    g, _ = p.generating()
    t = p.one(train())
    p.open(t)
    p.queues.reachable = False

    reconcile.restore(p.w, reconcile.open_jobs(p.w))

    p.queues.reachable = True
    assert (p.state(g), p.state(t)) == ("starting", "starting")


def test_reasons_are_noted_of_queued_jobs_alone(p: SmallPlatform) -> None:
    queued, started = p.submit(train("q") + "---\n" + train("s"))
    p.open(started)
    reason = Reason("no_capacity", "It needs 4 CPUs.")

    pks = [p.row(j).id for j in (queued, started)]

    noted = reconcile.note_reasons(p.w, p.term(), {reason: [*pks, 999]})

    assert noted == {pks[0]}
    assert p.job(queued)["reason"] == {"code": "no_capacity", "message": "It needs 4 CPUs."}
    assert p.job(started)["reason"] is None


def test_a_term_that_is_over_promotes_and_notes_nothing(p: SmallPlatform) -> None:
    t = p.one(train())
    for _ in range(2):
        p.open(t)
        p.lose(t)
    old = p.term()
    p.clock.go(60)
    p.term("new")

    with pytest.raises(LostLeadership):
        reconcile.promote(p.w, old)
    with pytest.raises(LostLeadership):
        reconcile.note_reasons(p.w, old, {Reason("x", "y"): [p.row(t).id]})
    assert (p.state(t), p.reason(t)) == ("waiting", "backing_off")


def test_pools_get_the_order_of_their_jobs_model(p: SmallPlatform) -> None:
    p.trained("m")
    _, a = p.generating()
    _, b = p.generating(generate("h", model="m"))

    orders = reconcile.pool_orders(p.w, reconcile.open_jobs(p.w), "http://api")

    assert {pool: order["model"]["name"] for pool, order in orders.items()} == {a.pool: "noise", b.pool: "m"}


def test_claims_are_told_with_their_workers(p: SmallPlatform) -> None:
    g, node = p.generating()
    node.claim()
    p.worker_of(node, "w2").claim()

    assert reconcile.claims_of(p.w, reconcile.open_jobs(p.w)) == {
        ClaimKey(TENANT, g, 1, 0, 1): "w1",
        ClaimKey(TENANT, g, 1, 1, 1): "w2",
    }
