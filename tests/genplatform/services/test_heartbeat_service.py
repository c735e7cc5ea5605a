"""Heartbeats: who is lost and who is only not known to Redis any more, and who is asked to stop."""

from __future__ import annotations

import pytest
from small_platform import TENANT, SmallPlatform, train

from genplatform.domain.keys import ClaimKey, JobKey
from genplatform.domain.retry import Cause
from genplatform.errors import BadRequest, Unauthorized, Unavailable
from genplatform.services import cancel, nodes


def test_a_heartbeat_lengthens_leases(p: SmallPlatform) -> None:
    opened = p.open(p.one(train()))
    node = p.trainer(opened)
    node.start()
    p.clock.go(9)

    assert node.heartbeat() == []

    p.clock.go(9)
    assert p.queues.expired(10) == []


def test_a_lease_that_expired_meanwhile_is_taken_up_again(p: SmallPlatform) -> None:
    node = p.trainer(p.open(p.one(train())))
    node.start()
    p.clock.go(60)
    assert p.queues.expired(10) == [node.key]

    assert node.heartbeat() == []
    assert p.queues.expired(10) == []


def test_after_a_wipe_of_redis_current_work_is_taken_up_again(p: SmallPlatform) -> None:
    g, worker = p.generating()
    orders = worker.claim(2)
    node = p.trainer(p.open(p.one(train())))
    node.start()
    claims = [ClaimKey(TENANT, g, 1, n, 1) for n in (0, 1)]

    p.queues.wipe()

    assert node.heartbeat() == worker.heartbeat(orders) == []
    assert p.queues.missing([node.key, *claims]) == []


def test_after_a_wipe_of_redis_what_is_over_is_lost(p: SmallPlatform) -> None:
    g, worker = p.generating()
    first, second = worker.claim(2)
    worker.publish(first)
    p.lose_claims(ClaimKey(TENANT, g, 1, 1, 1))
    t = p.one(train())
    zombie = p.trainer(p.open(t))
    p.lose(t)
    p.trainer(p.open(t)).start()
    p.queues.wipe()

    assert zombie.heartbeat() == [{"job_id": t, "run": 1, "shard": None, "reason": "lost"}]
    assert worker.heartbeat([first, second]) == [{"job_id": g, "run": 1, "shard": n, "reason": "lost"} for n in (0, 1)]


def test_without_redis_the_catalog_decides(p: SmallPlatform) -> None:
    t = p.one(train())
    zombie = p.trainer(p.open(t))
    p.lose(t)
    current = p.trainer(p.open(t))
    p.queues.reachable = False

    assert current.heartbeat() == []
    assert [s["reason"] for s in zombie.heartbeat()] == ["lost"]


def test_while_the_catalog_cannot_be_asked_nobody_is_lost_and_nobody_gets_a_lease(
    p: SmallPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    t = p.one(train())
    zombie = p.trainer(p.open(t))
    p.lose(t)

    def away() -> None:
        raise Unavailable("The test took the catalog away.")

    with monkeypatch.context() as patched:
        patched.setattr(p.w.catalog, "read", away)
        assert zombie.heartbeat() == []

    assert [s["reason"] for s in zombie.heartbeat()] == ["lost"]


@pytest.mark.parametrize("reason", ["cancel", "pause", "shutdown"])
def test_a_flagged_job_is_told_to_stop_and_why(p: SmallPlatform, reason: str) -> None:
    t = p.one(train())
    node = p.trainer(p.open(t))
    p.queues.flag_stop(JobKey(TENANT, t), reason)

    assert node.heartbeat() == [{"job_id": t, "run": 1, "shard": None, "reason": reason}]


def test_a_cancelled_job_is_told_so_until_it_let_go(p: SmallPlatform) -> None:
    t = p.one(train())
    node = p.trainer(p.open(t))
    node.start()
    cancel.cancel(p.w, TENANT, t)

    assert [s["reason"] for s in node.heartbeat()] == ["cancel"]
    node.release("cancel")
    assert [s["reason"] for s in node.heartbeat()] == ["lost"]


def test_one_heartbeat_answers_for_each_claim(p: SmallPlatform) -> None:
    g, worker = p.generating()
    orders = worker.claim(3)
    p.lose_claims(ClaimKey(TENANT, g, 1, 1, 1))

    assert [(s["shard"], s["reason"]) for s in worker.heartbeat(orders)] == [(1, "lost")]


def test_a_claim_of_a_run_that_was_drained_is_lost(p: SmallPlatform) -> None:
    g, worker = p.generating()
    orders = worker.claim(1)
    p.lose(g, Cause.SHUTDOWN)
    p.open(g)

    assert [s["reason"] for s in worker.heartbeat(orders)] == ["lost"]


def test_a_token_beats_for_its_own_run_alone(p: SmallPlatform) -> None:
    a, b = (p.trainer(p.open(i)) for i in p.submit(train("a") + "---\n" + train("b")))

    with pytest.raises(Unauthorized):
        nodes.heartbeat(p.w, a.grant, {"runs": [a.run, b.run]})
    with pytest.raises(Unauthorized):
        nodes.heartbeat(p.w, a.grant, {"claims": [a.run | {"shard": 0, "claim": 1}]})


def test_a_body_of_another_shape_is_refused(p: SmallPlatform) -> None:
    node = p.trainer(p.open(p.one(train())))

    for body in ({"runs": 5}, {"runs": [{"job_id": "x"}]}, {"runs": [node.run | {"run": -1}]}):
        with pytest.raises(BadRequest, match="Field 'runs"):
            nodes.heartbeat(p.w, node.grant, body)


def test_the_first_word_of_a_run_makes_it_run(p: SmallPlatform) -> None:
    t = p.one(train())
    node = p.trainer(p.open(t))

    node.start()
    node.start()

    job = p.job(t)
    assert (job["state"], job["runs"][0]["state"], job["runs"][0]["node"]) == ("running", "running", "n1")
    assert len(p.events(t, "running")) == 1


def test_the_first_word_of_a_cancelled_run_changes_nothing(p: SmallPlatform) -> None:
    t = p.one(train())
    node = p.trainer(p.open(t))
    cancel.cancel(p.w, TENANT, t)

    node.start()

    assert p.state(t) == "cancelling"
    assert p.events(t, "running") == []
