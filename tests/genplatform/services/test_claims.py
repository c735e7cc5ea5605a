"""Claims: what Redis offers is a hint, and the catalog gives each shard to one worker at a time."""

from __future__ import annotations

import pytest
from small_platform import TENANT, SmallPlatform, generate, train
from together import together

from genplatform.domain.keys import ClaimKey, ShardKey
from genplatform.domain.retry import Cause
from genplatform.domain.tokens import PoolGrant
from genplatform.errors import Fenced, Unauthorized, Unavailable
from genplatform.services import cancel, claiming, nodes


def test_a_claim_says_all_that_its_worker_needs(p: SmallPlatform) -> None:
    g, node = p.generating(generate(count=100, more="seed: 9\n"))

    (order,) = node.claim()

    assert {k: order[k] for k in ("job_id", "run", "shard", "claim", "start", "count", "seed")} == {
        "job_id": g,
        "run": 1,
        "shard": 0,
        "claim": 1,
        "start": 0,
        "count": 64,
        "seed": 9,
    }
    # Left out, the format is the usual one of the recipe, which the worker knows.
    assert (order["format"], order["batch_size"], order["cond"]) == (None, 64, None)
    assert order["lineage"]["model"] == "noise@1"
    assert p.state(g) == "running"
    assert p.job(g)["runs"][0]["worker"] == "w1"


def test_claims_come_in_order_and_no_more_than_asked(p: SmallPlatform) -> None:
    _, node = p.generating(generate(count=64 * 5))

    assert [o["shard"] for o in node.claim(2)] == [0, 1]
    assert [o["shard"] for o in node.claim(9)] == [2, 3, 4]
    assert node.claim(9) == []


def test_no_two_workers_claim_one_shard(on_each: SmallPlatform) -> None:
    p = on_each
    g, first = p.generating(generate(count=64 * 24))
    offers = [ShardKey(*p.row(g).run_key, n) for n in range(24)]

    def work(number: int) -> list[int]:
        node = p.worker_of(first, f"w{number}")
        got = []
        for most in (2, 2, 24):
            p.queues.hand_off(node.pool, offers)  # also what others hold already
            got += [o["shard"] for o in node.claim(most)]
        return got

    claimed = [shard for got in together([lambda n=n: work(n) for n in range(6)]) for shard in got]

    assert sorted(claimed) == list(range(24))
    assert {(s.state, s.claim) for s in p.shards(g)} == {("claimed", 1)}


def test_a_stale_or_forged_hint_gives_nothing(p: SmallPlatform) -> None:
    g, node = p.generating()
    p.queues.take_shards(node.pool, 100)
    t = p.one(train())
    p.open(t)
    row = p.row(g)
    forged = [
        ShardKey(TENANT, g, 0, 0),  # a run before
        ShardKey(TENANT, g, 2, 0),  # a run to come
        ShardKey(TENANT, g, 1, 99),  # no such shard
        ShardKey(TENANT, "j_2222222222", 1, 0),  # no such job
        ShardKey(TENANT, t, 1, 0),  # of another kind
        ShardKey("other", g, 1, 0),  # of another tenant
    ]
    p.queues.hand_off(node.pool, forged)

    assert node.claim(100) == []
    assert {s.state for s in p.shards(g)} == {"pending"}
    assert row.state == p.state(g) == "starting"


def test_a_shard_of_another_pools_job_is_not_given(p: SmallPlatform) -> None:
    p.trained("m")
    g, _ = p.generating(generate("g", model="m@1"))
    _, stranger = p.generating(generate("h"))
    p.queues.take_shards(stranger.pool, 100)
    p.queues.hand_off(stranger.pool, [ShardKey(TENANT, g, 1, 0)])

    assert stranger.claim() == []
    assert p.shards(g)[0].state == "pending"


def test_a_published_shard_is_not_given_again(p: SmallPlatform) -> None:
    g, node = p.generating()
    node.work(most=1)
    p.queues.hand_off(node.pool, [ShardKey(TENANT, g, 1, 0)])

    assert [o["shard"] for o in node.claim(9)] == [1, 2]


def test_nothing_of_a_cancelled_job_is_given(p: SmallPlatform) -> None:
    g, node = p.generating()
    cancel.cancel(p.w, TENANT, g)

    assert node.claim(9) == []


def test_a_claim_needs_a_pools_token(p: SmallPlatform) -> None:
    opened = p.open(p.one(train()))

    with pytest.raises(Unauthorized):
        claiming.claim(p.w, p.trainer(opened).grant, {"worker": "w"})


def test_without_redis_a_claim_is_put_off(p: SmallPlatform) -> None:
    g, node = p.generating()
    p.queues.reachable = False

    with pytest.raises(Unavailable):
        node.claim()
    assert {s.state for s in p.shards(g)} == {"pending"}


def test_a_claim_whose_worker_is_gone_is_offered_again_under_a_higher_number(p: SmallPlatform) -> None:
    g, node = p.generating()
    (order,) = node.claim()
    claim = ClaimKey(TENANT, g, 1, 0, 1)

    assert p.lose_claims(claim) == 1

    again = p.worker_of(node, "w2").claim(9)
    assert [(o["shard"], o["claim"]) for o in again] == [(0, 2), (1, 1), (2, 1)]
    assert not node.publish(order)
    assert p.queues.missing([claim]) == [claim]
    assert p.events(g, "claim_ended")[0]["data"]["message"] == "Its worker died."


def test_only_the_current_claim_can_be_released(p: SmallPlatform) -> None:
    g, node = p.generating()
    node.claim()
    strange = [ClaimKey(TENANT, g, 1, 0, 2), ClaimKey(TENANT, g, 2, 0, 1), ClaimKey(TENANT, "j_2222222222", 1, 0, 1)]
    p.queues.grant(strange, 10)

    assert p.lose_claims(*strange) == 0
    assert p.shards(g)[0].state == "claimed"
    assert p.queues.missing(strange) == strange


def test_a_shard_that_ends_its_claims_again_and_again_fails_its_job(p: SmallPlatform) -> None:
    g, node = p.generating()
    after = p.one(generate("after", more="needs: [g]\n"))
    for n in range(1, 5):
        assert p.state(g) in ("starting", "running")
        (order,) = node.claim()
        assert (order["shard"], order["claim"]) == (0, n)
        p.lose_claims(ClaimKey(TENANT, g, 1, 0, n))

    assert p.state(g) == "failed"
    error = p.job(g)["error"]
    assert error["code"] == "poisoned"
    assert error["message"] == (
        "Shard 0 (items 0 to 63) ended its worker 4 times; 3 tries more are allowed. Its worker died."
    )
    assert [s.state for s in p.shards(g)] == ["failed", "pending", "pending"]
    assert node.claim() == []
    assert p.state(after) == "cancelled"


def test_a_poisoned_shard_fails_its_job_whatever_is_tried_again(p: SmallPlatform) -> None:
    g, node = p.generating(generate(more="retry: {max: 9, on: [user_error, node_lost]}\n"))

    for n in range(1, 11):
        assert p.state(g) in ("starting", "running")
        node.claim()
        p.lose_claims(ClaimKey(TENANT, g, 1, 0, n))

    assert (p.state(g), p.job(g)["error"]["code"]) == ("failed", "poisoned")


def test_a_shard_that_cannot_be_made_fails_its_job_at_once(p: SmallPlatform) -> None:
    g, node = p.generating()
    (order,) = node.claim()

    node.fail(order, message="The model is torn.")

    assert p.state(g) == "failed"
    assert p.job(g)["error"] == {"code": "user_error", "message": "The model is torn.", "hint": ""}
    assert p.shards(g)[0].state == "failed"


def test_a_job_that_retries_its_own_errors_makes_the_failed_shard_again(p: SmallPlatform) -> None:
    g, node = p.generating(generate(more="retry: {max: 1, on: [user_error]}\n"))
    (order,) = node.claim()
    node.fail(order)
    assert p.state(g) == "queued"

    again = p.worker(p.open(g))

    assert again.work() == 3
    assert {s.state for s in p.shards(g)} == {"published"}


def test_an_error_of_the_surroundings_costs_the_claim_and_not_the_job(p: SmallPlatform) -> None:
    g, node = p.generating()
    (order,) = node.claim()

    node.fail(order, "out_of_memory")

    assert p.state(g) == "running"
    assert node.work() == 3


def test_a_claim_that_is_not_current_fails_nothing(p: SmallPlatform) -> None:
    g, node = p.generating()
    (order,) = node.claim()
    p.lose_claims(ClaimKey(TENANT, g, 1, 0, 1))

    node.fail(order)

    assert p.state(g) == "running"
    p.lose(g, Cause.SHUTDOWN)
    with pytest.raises(Fenced):
        node.fail(order)


def test_a_token_speaks_for_its_own_pool_alone(p: SmallPlatform) -> None:
    g, node = p.generating()
    (order,) = node.claim()
    shard = node.store(order)
    pool = PoolGrant(TENANT, "p000000000000000")
    trainer = p.trainer(p.open(p.one(train()))).grant

    for grant in (pool, PoolGrant("other", node.pool), trainer):
        refused = False
        try:
            answer = nodes.publish(p.w, grant, {"kind": "shards", "shards": [shard]})
            refused = not answer["results"][0]["published"]
            nodes.failed(p.w, grant, shard | {"cause": "user_error", "message": "m"})
        except (Unauthorized, Fenced):
            refused = True
        assert refused
        assert p.shards(g)[0].state == "claimed"
        assert p.state(g) == "running"


def test_shards_are_claimed_together_until_they_have_as_many_items_as_asked(p: SmallPlatform) -> None:
    large, node = p.generating(generate("large", count=640))
    small = [p.generating(generate(f"small{number}", count=5))[0] for number in range(20)]

    first = node.claim(64, max_items=64)
    while len(p.shards(large)) != sum(shard.claim for shard in p.shards(large)):
        node.claim()
    second = node.claim(64, max_items=64)
    third = node.claim(6, max_items=64)

    assert [order["count"] for order in first] == [64]
    assert [order["count"] for order in second] == [5] * 12
    assert [order["count"] for order in third] == [5] * 6
    assert len({order["job_id"] for order in second + third}) == 18
    assert {order["job_id"] for order in second} <= set(small)
