"""How Runs end, and what becomes of their jobs: tried again by cause and budget, failed, or cancelled."""

from __future__ import annotations

import pytest
from small_platform import TENANT, SmallPlatform, generate, train

from genplatform.domain.keys import ClaimKey, JobKey, RunKey
from genplatform.domain.retry import START_BUDGET, Cause
from genplatform.errors import Fenced, LostLeadership
from genplatform.services import cancel, reconcile
from genplatform.services.endings import Ending, close_run


def promote(p: SmallPlatform) -> list[JobKey]:
    return reconcile.promote(p.w, p.term())


def test_an_error_of_the_job_itself_fails_it_at_once(p: SmallPlatform) -> None:
    t = p.one(train())
    node = p.trainer(p.open(t))
    node.start()

    node.fail(message="No such column.", hint="Name one of the data's.")

    job = p.job(t)
    assert job["state"] == "failed"
    assert job["error"] == {"code": "user_error", "message": "No such column.", "hint": "Name one of the data's."}
    assert job["reason"] == {"code": "user_error", "message": "No such column."}
    assert [(r["state"], r["cause"], r["message"]) for r in job["runs"]] == [
        ("failed", "user_error", "No such column.")
    ]
    assert job["finished_at"] is not None
    assert [e["type"] for e in p.events(t)][-2:] == ["run_ended", "failed"]


def test_the_first_loss_of_a_worker_is_tried_again_at_once_and_says_why(p: SmallPlatform) -> None:
    t = p.one(train())
    p.open(t)
    p.queues.take_intake(10)

    p.lose(t, message="The worker of run 1 is gone.")

    job = p.job(t)
    assert (job["state"], job["reason"]["code"]) == ("queued", "node_lost")
    assert job["reason"]["message"] == "The worker of run 1 is gone. Try 2 of 4 after node_lost."
    assert job["runs"][0]["state"] == "lost"
    assert p.queues.take_intake(10) == [JobKey(TENANT, t)]


def test_a_later_loss_waits_and_is_queued_again_when_its_time_has_come(p: SmallPlatform) -> None:
    t = p.one(train())
    for _ in range(2):
        p.open(t)
        p.lose(t)

    assert (p.state(t), p.reason(t)) == ("waiting", "backing_off")
    assert promote(p) == []
    p.clock.go(2)
    assert promote(p) == [JobKey(TENANT, t)]
    assert (p.state(t), p.reason(t)) == ("queued", None)
    assert promote(p) == []
    assert p.open(t).key.run == 3


def test_a_budget_that_is_used_up_fails_the_job(p: SmallPlatform) -> None:
    t = p.one(train(more="retry: {max: 2}\n"))
    for _ in range(3):
        assert p.state(t) == "queued"
        p.open(t)
        p.lose(t)
        p.clock.go(100)
        promote(p)

    assert p.state(t) == "failed"
    assert (p.job(t)["error"]["code"], p.job(t)["error"]["message"]) == (
        "node_lost",
        "Its node is gone. Try 3 of 3 after node_lost was the last.",
    )


def test_each_cause_has_its_own_budget(p: SmallPlatform) -> None:
    t = p.one(train(more="retry: {max: 1}\n"))
    for cause in (Cause.NODE_LOST, Cause.OUT_OF_MEMORY):
        p.open(t)
        p.lose(t, cause)

    assert p.state(t) == "queued"


def test_a_cause_that_the_spec_does_not_name_fails_the_job(p: SmallPlatform) -> None:
    t = p.one(train(more="retry: {on: [node_lost]}\n"))
    p.open(t)

    p.lose(t, Cause.OUT_OF_MEMORY)

    assert p.state(t) == "failed"


@pytest.mark.parametrize("cause", [Cause.SHUTDOWN, Cause.PREEMPTED])
def test_a_stop_that_was_asked_for_costs_nothing(p: SmallPlatform, cause: Cause) -> None:
    t = p.one(train(more="retry: {max: 0}\n"))
    for _ in range(10):
        p.open(t)
        p.lose(t, cause)
        assert (p.state(t), p.reason(t)) == ("queued", cause.value)

    assert {r["state"] for r in p.job(t)["runs"]} == {"preempted"}


def test_a_start_that_fails_has_a_budget_of_the_platforms_own(p: SmallPlatform) -> None:
    t = p.one(train(more="retry: {max: 0}\n"))
    for _ in range(START_BUDGET):
        p.open(t)
        p.lose(t, Cause.START_FAILED)
        p.clock.go(100)
        promote(p)
        assert p.state(t) == "queued"
    p.open(t)
    p.lose(t, Cause.START_FAILED, "No such class.")

    assert p.job(t)["error"]["code"] == "start_failed"


@pytest.mark.parametrize(
    ("said", "state", "cause"),
    [("cancel", "failed", "cancelled"), ("pause", "queued", "paused"), ("shutdown", "queued", "shutdown")],
)
def test_a_run_that_let_go(p: SmallPlatform, said: str, state: str, cause: str) -> None:
    t = p.one(train())
    node = p.trainer(p.open(t))
    node.start()

    node.release(said, step=40)

    assert p.state(t) == state
    run = p.job(t)["runs"][0]
    assert (run["cause"], run["message"]) == (cause, f"It stopped at step 40 as asked ({said}).")
    with pytest.raises(Fenced):
        node.release(said)


def test_a_cancelled_job_ends_cancelled_however_its_run_ends(p: SmallPlatform) -> None:
    for n, cause in enumerate((Cause.NODE_LOST, Cause.USER_ERROR, Cause.SHUTDOWN)):
        t = p.one(train(f"t{n}"))
        p.open(t)
        cancel.cancel(p.w, TENANT, t)

        p.lose(t, cause)

        assert (p.state(t), p.reason(t), p.job(t)["error"]) == ("cancelled", "cancelled_by_user", None)
        assert p.job(t)["runs"][0]["state"] == "cancelled"
        assert p.queues.stops([JobKey(TENANT, t)]) == {}


def test_a_run_is_closed_once(p: SmallPlatform) -> None:
    t = p.one(train())
    key = p.open(t).key
    ending = Ending(Cause.NODE_LOST, "m")

    assert close_run(p.w, key, ending, term=p.term()) == "queued"
    assert close_run(p.w, key, ending, term=p.term()) is None
    p.open(t)
    assert close_run(p.w, key, ending, term=p.term()) is None
    assert close_run(p.w, RunKey(TENANT, "j_2222222222", 1), ending) is None
    assert p.state(t) == "starting"


def test_a_term_that_is_over_closes_nothing(p: SmallPlatform) -> None:
    t = p.one(train())
    key = p.open(t).key
    old = p.term()
    p.clock.go(6)
    p.term("new")

    with pytest.raises(LostLeadership):
        close_run(p.w, key, Ending(Cause.NODE_LOST, "m"), term=old)
    assert p.state(t) == "starting"


def test_a_run_that_ends_gives_up_all_it_holds(p: SmallPlatform) -> None:
    g, node = p.generating()
    (order,) = node.claim()
    claim = ClaimKey(TENANT, g, 1, order["shard"], order["claim"])
    assert p.queues.missing([claim]) == []

    p.lose(g, Cause.SHUTDOWN)

    assert p.queues.offered(node.pool) == 0
    assert p.queues.missing([claim]) == [claim]
    assert {s.state for s in p.shards(g)} == {"pending"}


def test_a_worker_of_a_job_that_ended_is_told_with_its_next_heartbeat(p: SmallPlatform) -> None:
    g, node = p.generating()
    orders = node.claim()
    cancel.cancel(p.w, TENANT, g)
    p.lose(g, Cause.CANCELLED)

    assert [(s["shard"], s["reason"]) for s in node.heartbeat(orders)] == [(0, "lost")]


def test_without_redis_a_run_still_ends(p: SmallPlatform) -> None:
    t = p.one(train())
    node = p.trainer(p.open(t))
    p.queues.reachable = False

    node.fail("node_lost")

    assert p.state(t) == "queued"


def test_a_job_of_another_kind_of_end_keeps_what_it_published(p: SmallPlatform) -> None:
    g, node = p.generating(generate(more="retry: {max: 0}\n"))
    node.work(most=1)

    p.lose(g)

    assert (p.state(g), p.job(g)["outputs"]["count"]) == ("failed", 64)
