"""Cancel: at once where nothing runs, through the worker where something does, and never twice."""

from __future__ import annotations

import pytest
from small_platform import TENANT, SmallPlatform, generate, train

from genplatform.domain.keys import JobKey
from genplatform.errors import Conflict, Fenced, NotFound
from genplatform.services import cancel, jobs, reconcile


def test_a_job_without_a_run_ends_at_once(p: SmallPlatform) -> None:
    queued, waiting = p.submit(train("t") + "---\n" + generate("g", more="needs: [t]\n"))
    backing_off = p.one(train("b"))
    for _ in range(2):
        p.open(backing_off)
        p.lose(backing_off)
    assert p.state(backing_off) == "waiting"

    for job_id in (backing_off, waiting, queued):
        answer = cancel.cancel(p.w, TENANT, job_id)

        assert (answer["state"], answer["reason"]["code"]) == ("cancelled", "cancelled_by_user")
        assert answer["finished_at"] is not None

    p.clock.go(100)
    assert reconcile.promote(p.w, p.term()) == []


def test_a_job_with_a_run_is_asked_to_let_go(p: SmallPlatform) -> None:
    t = p.one(train())
    node = p.trainer(p.open(t))
    node.start()

    answer = cancel.cancel(p.w, TENANT, t)

    assert (answer["state"], answer["runs"][0]["state"]) == ("cancelling", "running")
    assert p.queues.stops([JobKey(TENANT, t)]) == {JobKey(TENANT, t): "cancel"}
    assert p.queues.wait_for_wake(0)


def test_a_second_cancel_changes_nothing(p: SmallPlatform) -> None:
    t, q = p.submit(train("t") + "---\n" + train("q"))
    p.open(t)

    for job_id, state, events in ((t, "cancelling", ["cancelling"]), (q, "cancelled", ["cancelled"])):
        for _ in range(2):
            assert cancel.cancel(p.w, TENANT, job_id)["state"] == state
        assert [e["type"] for e in p.events(job_id, "cancelling", "cancelled")] == events


def test_after_an_acknowledged_cancel_nothing_of_the_run_is_recorded(p: SmallPlatform) -> None:
    t = p.one(train())
    node = p.trainer(p.open(t))
    node.start()
    node.checkpoint(10)
    cancel.cancel(p.w, TENANT, t)

    for say in (lambda: node.checkpoint(20), node.publish):
        with pytest.raises(Fenced):
            say()

    assert [a["step"] for a in jobs.artifacts(p.w, TENANT, t)["artifacts"]] == [10]
    assert p.state(t) == "cancelling"


def test_what_has_ended_otherwise_is_not_cancelled(p: SmallPlatform) -> None:
    succeeded = p.trained("s")
    failed = p.one(train("f"))
    p.trainer(p.open(failed)).fail()

    for job_id, state in ((succeeded, "succeeded"), (failed, "failed")):
        with pytest.raises(Conflict, match=f"has {state} already"):
            cancel.cancel(p.w, TENANT, job_id)
        assert p.state(job_id) == state


def test_nobody_is_not_cancelled(p: SmallPlatform) -> None:
    with pytest.raises(NotFound):
        cancel.cancel(p.w, TENANT, "nobody")


def test_without_redis_a_cancel_is_acknowledged_and_the_flag_put_up_later(p: SmallPlatform) -> None:
    t = p.one(train())
    p.open(t)
    p.queues.reachable = False
    assert cancel.cancel(p.w, TENANT, t)["state"] == "cancelling"
    p.queues.reachable = True
    assert p.queues.stops([JobKey(TENANT, t)]) == {}

    reconcile.restore(p.w, reconcile.open_jobs(p.w))

    assert p.queues.stops([JobKey(TENANT, t)]) == {JobKey(TENANT, t): "cancel"}
