"""Publication: exactly once, by the current Run and claim, and never after an acknowledged cancel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fake_node import DIGEST
from small_platform import TENANT, SmallPlatform, generate, train
from together import together

from genplatform.domain.keys import ClaimKey
from genplatform.domain.retry import Cause
from genplatform.errors import BadRequest, Conflict, Fenced
from genplatform.services import cancel, models

Change = Callable[[dict[str, Any]], dict[str, Any]]


def versions(p: SmallPlatform) -> list[str]:
    return [f"{m['name']}@{m['version']}" for m in models.ls(p.w, TENANT)["models"] if m["name"] != "noise"]


def test_a_model_is_published_and_its_job_succeeds(p: SmallPlatform) -> None:
    t = p.one(train())
    node = p.trainer(p.open(t))
    node.start()

    assert node.publish(metrics={"loss": 0.5}) == "t@1"

    job = p.job(t)
    assert (job["state"], job["model"], job["reason"], job["progress"]["done"]) == ("succeeded", "t@1", None, 100)
    assert job["runs"][0]["state"] == "succeeded"
    assert [e["type"] for e in p.events(t)] == ["submitted", "starting", "running", "succeeded", "published"]
    shown = models.show(p.w, TENANT, "t@1")
    assert (shown["digest"], shown["metrics"], shown["job_id"]) == (DIGEST, {"loss": 0.5}, t)
    assert p.queues.missing([node.key]) == [node.key]


def test_a_model_published_again_because_the_answer_was_lost_is_answered_the_same(p: SmallPlatform) -> None:
    node = p.trainer(p.open(p.one(train())))

    assert [node.publish(), node.publish()] == ["t@1", "t@1"]
    assert versions(p) == ["t@1"]


def test_a_model_published_by_many_threads_is_one_version(on_each: SmallPlatform) -> None:
    node = on_each.trainer(on_each.open(on_each.one(train())))

    assert set(together([node.publish] * 6)) == {"t@1"}
    assert versions(on_each) == ["t@1"]


def test_a_zombie_run_publishes_nothing(p: SmallPlatform) -> None:
    t = p.one(train())
    zombie = p.trainer(p.open(t))
    p.lose(t)
    with pytest.raises(Fenced):
        zombie.publish()
    current = p.trainer(p.open(t))
    with pytest.raises(Fenced):
        zombie.publish()

    assert current.publish() == "t@1"
    with pytest.raises(Fenced):
        zombie.publish()
    for speak in (zombie.start, lambda: zombie.checkpoint(1), zombie.fail, lambda: zombie.release("pause")):
        with pytest.raises(Fenced):
            speak()
    assert versions(p) == ["t@1"]
    assert [r["state"] for r in p.job(t)["runs"]] == ["lost", "succeeded"]


def test_a_model_must_lie_where_its_digest_says(p: SmallPlatform) -> None:
    t = p.one(train())
    node = p.trainer(p.open(t))

    with pytest.raises(BadRequest, match="not the one of its digest"):
        node.publish(key="models/other/x")
    assert p.state(t) == "starting"


def test_after_an_acknowledged_cancel_no_model_is_published(p: SmallPlatform) -> None:
    t = p.one(train())
    node = p.trainer(p.open(t))
    node.start()
    cancel.cancel(p.w, TENANT, t)

    with pytest.raises(Fenced):
        node.publish()
    node.release("cancel", step=5)

    assert p.state(t) == "cancelled"
    assert versions(p) == []


def test_of_a_cancel_and_a_publication_at_once_one_wins(on_each: SmallPlatform) -> None:
    p = on_each
    for n in range(6):
        t = p.one(train(f"t{n}"))
        node = p.trainer(p.open(t))

        def publish(node: Any = node) -> bool:
            try:
                return node.publish() is not None
            except Fenced:
                return False

        def stop(t: str = t) -> bool:
            try:
                return bool(cancel.cancel(p.w, TENANT, t)["state"] == "cancelling")
            except Conflict:
                return False

        published, cancelled = together([publish, stop])

        assert published != cancelled
        assert p.state(t) == ("succeeded" if published else "cancelling")


def test_shards_are_published_in_one_answer_each_by_its_own_fence(p: SmallPlatform) -> None:
    g, node = p.generating()
    orders = node.claim(3)
    p.lose_claims(ClaimKey(TENANT, g, 1, 1, 1))

    results = node.tell([node.store(o) for o in orders])

    assert [(r["shard"], r["published"]) for r in results] == [(0, True), (1, False), (2, True)]
    assert results[1]["reason"] == "Claim 1 is not the current one."
    assert p.job(g)["progress"]["done"] == p.job(g)["outputs"]["count"] == 128


def test_a_shard_published_again_because_the_answer_was_lost_is_answered_the_same(p: SmallPlatform) -> None:
    g, node = p.generating()
    (order,) = node.claim()
    said = node.store(order)

    first, again = node.tell([said]), node.tell([said])

    assert first == again
    assert again[0]["published"]
    assert p.row(g).done == 64


def test_a_shard_published_by_many_threads_counts_once(on_each: SmallPlatform) -> None:
    g, node = on_each.generating()
    orders = node.claim(3)
    said = [node.store(o) for o in orders]

    answers = together([lambda n=n: node.tell(said if n % 2 else said[::-1]) for n in range(6)])

    assert {r["published"] for results in answers for r in results} == {True}
    assert on_each.row(g).done == 192


def test_a_zombie_claim_publishes_nothing(p: SmallPlatform) -> None:
    g, zombie = p.generating()
    (old,) = zombie.claim()
    p.lose_claims(ClaimKey(TENANT, g, 1, 0, 1))
    (new,) = p.worker_of(zombie, "w2").claim()
    assert (new["shard"], new["claim"]) == (0, 2)

    assert not zombie.publish(old)
    assert p.worker_of(zombie, "w2").publish(new)
    assert not zombie.publish(old)

    assert p.shards(g)[0].folder == "shard-000000.r1.c2"
    assert p.row(g).done == 64


def test_a_claim_of_an_earlier_run_publishes_nothing(p: SmallPlatform) -> None:
    g, node = p.generating()
    (old,) = node.claim()
    p.lose(g, Cause.SHUTDOWN)
    assert not node.publish(old)
    (new,) = p.worker(p.open(g), "w2").claim()

    assert not node.publish(old)
    assert (new["run"], new["shard"], new["claim"]) == (2, 0, 2)


def test_what_was_published_in_an_earlier_run_is_kept_and_still_answered(p: SmallPlatform) -> None:
    g, node = p.generating()
    (order,) = node.claim()
    said = node.store(order)
    node.tell([said])
    p.lose(g, Cause.SHUTDOWN)
    again = p.worker(p.open(g))

    assert node.tell([said])[0]["published"]
    assert [o["shard"] for o in again.claim(9)] == [1, 2]
    assert p.row(g).done == 64


def test_after_an_acknowledged_cancel_no_shard_is_published(p: SmallPlatform) -> None:
    g, node = p.generating()
    orders = node.claim(2)
    node.publish(orders[0])
    cancel.cancel(p.w, TENANT, g)

    assert not node.publish(orders[1])
    assert p.row(g).done == 64


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s | {"count": s["count"] - 1},
        lambda s: s | {"manifest": s["manifest"] | {"key": "outputs/default/other/manifest.jsonl"}},
    ],
    ids=["count", "place"],
)
def test_a_shard_that_is_not_what_was_claimed_is_refused(p: SmallPlatform, change: Change) -> None:
    g, node = p.generating()
    (order,) = node.claim()

    (result,) = node.tell([change(node.store(order))])

    assert not result["published"]
    assert "not what was claimed" in result["reason"]
    assert p.shards(g)[0].state == "claimed"


def test_a_shard_of_no_job_is_refused(p: SmallPlatform) -> None:
    _, node = p.generating()
    (order,) = node.claim()
    said = node.store(order)

    results = node.tell([said | {"job_id": "j_2222222222"}, said | {"shard": 77}])

    assert [r["published"] for r in results] == [False, False]


def test_the_rate_is_of_the_items_a_second_since_the_run_began(p: SmallPlatform) -> None:
    g, node = p.generating(generate(count=64 * 10))
    orders = node.claim(9)
    p.clock.go(8)
    node.tell([node.store(o) for o in orders[:2]])

    assert p.job(g)["progress"] == {"done": 128, "total": 640, "unit": "items", "rate": 16.0, "eta_seconds": 32.0}


def test_the_rate_of_a_later_run_counts_what_it_made_itself(p: SmallPlatform) -> None:
    g, node = p.generating(generate(count=64 * 10))
    node.work(most=4)
    p.lose(g, Cause.SHUTDOWN)
    p.clock.go(1000)
    node = p.worker(p.open(g))
    orders = node.claim(9)
    p.clock.go(8)
    for order in orders[:2]:
        node.publish(order)

    assert p.job(g)["progress"]["rate"] == 16.0


def test_a_claim_that_is_told_twice_in_one_request_counts_once(p: SmallPlatform) -> None:
    g, node = p.generating(generate(count=64 * 3))
    first, second = node.claim(2)
    told = [node.store(first), node.store(second), node.store(first)]

    answers = node.tell(told)

    assert [answer["published"] for answer in answers] == [True] * 3
    assert p.row(g).done == 128
    assert p.events(g, "refused") == []
