"""Pause and resume: at once where nothing runs, through a checkpoint where something trains, and no try is spent."""

from __future__ import annotations

import pytest
from small_platform import TENANT, SmallPlatform, generate, train

from genplatform.domain.keys import JobKey
from genplatform.domain.retry import Cause
from genplatform.errors import Conflict, NotFound
from genplatform.services import cancel, pause, reconcile, resume
from genplatform.services.endings import Ending, close_run

ONCE = "retry: {max: 0}\n"


def paused(p: SmallPlatform, job_id: str) -> None:
    assert pause.pause(p.w, TENANT, job_id)["state"] == "paused"


def test_a_job_without_a_run_is_paused_at_once_and_not_started(p: SmallPlatform) -> None:
    queued, waiting = p.submit(train("t") + "---\n" + generate("g", model="t", more="needs: [t]\n"))

    for job_id in (queued, waiting):
        answer = pause.pause(p.w, TENANT, job_id)

        assert (answer["state"], answer["reason"]["code"]) == ("paused", "paused")
    assert p.line() == []


def test_a_paused_job_takes_its_place_in_the_line_again(p: SmallPlatform) -> None:
    first, second = p.submit(train("a") + "---\n" + train("b"))
    paused(p, first)
    p.queues.take_intake(10)

    answer = resume.resume(p.w, TENANT, first)

    assert (answer["state"], answer["reason"]) == ("queued", None)
    assert p.line() == [first, second]
    assert p.queues.take_intake(10) == [JobKey(TENANT, first)]


def test_a_training_run_is_asked_to_let_go_and_the_job_goes_on_from_its_checkpoint(p: SmallPlatform) -> None:
    t = p.one(train("t", ONCE))
    node = p.trainer(p.open(t))
    node.start()

    answer = pause.pause(p.w, TENANT, t)

    assert (answer["state"], answer["reason"]["code"]) == ("running", "pausing")
    assert [s["reason"] for s in node.heartbeat()] == ["pause"]
    assert p.queues.wait_for_wake(0)
    node.checkpoint(40)
    node.release("pause", step=40)
    job = p.job(t)
    assert (job["state"], job["reason"]["code"]) == ("paused", "paused")
    assert job["reason"]["message"] == "It is paused. It stopped at step 40 as asked (pause)."
    assert [(r["state"], r["cause"]) for r in job["runs"]] == [("preempted", "paused")]
    assert p.queues.stops([JobKey(TENANT, t)]) == {}

    assert resume.resume(p.w, TENANT, t)["state"] == "queued"

    again = p.open(t)
    assert [c["step"] for c in again.order["resume"]] == [40]
    assert p.trainer(again).publish() == "t@1"
    assert [e["type"] for e in p.events(t, "pausing", "run_ended", "paused", "queued", "succeeded")] == [
        "pausing",
        "run_ended",
        "paused",
        "queued",
        "succeeded",
    ]


def test_a_pause_spends_no_try(p: SmallPlatform) -> None:
    t = p.one(train("t", ONCE))

    for _ in range(3):
        node = p.trainer(p.open(t))
        node.start()
        pause.pause(p.w, TENANT, t)
        node.release("pause", step=1)
        resume.resume(p.w, TENANT, t)

    assert p.state(t) == "queued"


def test_a_run_that_is_paused_before_its_first_word_still_says_why_it_stands(p: SmallPlatform) -> None:
    t = p.one(train())
    node = p.trainer(p.open(t))
    pause.pause(p.w, TENANT, t)
    assert (p.state(t), p.reason(t)) == ("starting", "pausing")

    node.start()

    assert (p.state(t), p.reason(t)) == ("running", "pausing")


def test_a_generate_job_is_paused_at_once_and_keeps_what_it_published(p: SmallPlatform) -> None:
    g, worker = p.generating(generate(count=192, more=ONCE))
    assert worker.work(most=1) == 1
    (held,) = worker.claim()

    paused(p, g)

    assert [s["reason"] for s in worker.heartbeat([held])] == ["lost"]
    assert not worker.publish(held)
    assert worker.claim() == []
    assert [s.state for s in p.shards(g)] == ["published", "pending", "pending"]
    assert [(r["state"], r["cause"]) for r in p.job(g)["runs"]] == [("preempted", "paused")]

    resume.resume(p.w, TENANT, g)

    assert p.worker(p.open(g)).work() == 2
    assert p.job(g)["outputs"]["count"] == 192
    assert [s.claim for s in p.shards(g)] == [1, 2, 1]


def test_who_publishes_first_wins_over_the_pause(p: SmallPlatform) -> None:
    t = p.one(train())
    node = p.trainer(p.open(t))
    node.start()
    pause.pause(p.w, TENANT, t)

    node.publish()

    assert (p.state(t), p.reason(t)) == ("succeeded", None)
    assert p.row(t).wish is None


@pytest.mark.parametrize("cause", [Cause.NODE_LOST, Cause.OUT_OF_MEMORY, Cause.START_FAILED, Cause.SHUTDOWN])
def test_a_run_that_ends_by_what_is_not_the_jobs_fault_is_paused(p: SmallPlatform, cause: Cause) -> None:
    t = p.one(train("t", ONCE))
    p.open(t)
    pause.pause(p.w, TENANT, t)

    p.lose(t, cause)

    assert p.state(t) == "paused"
    assert p.job(t)["runs"][0]["cause"] == cause.value


def test_a_job_that_fails_by_itself_has_failed_whoever_paused_it(p: SmallPlatform) -> None:
    for name, ending in {
        "u": Ending(Cause.USER_ERROR, "no data"),
        "f": Ending(Cause.NODE_LOST, "It kills its workers.", final=True),
    }.items():
        t = p.one(train(name))
        opened = p.open(t)
        pause.pause(p.w, TENANT, t)

        close_run(p.w, opened.key, ending)

        assert (p.state(t), p.row(t).wish) == ("failed", None)


def test_a_back_off_goes_on_while_the_job_is_paused(p: SmallPlatform) -> None:
    t = p.one(train())
    for _ in range(2):
        p.open(t)
        p.lose(t)
    assert p.reason(t) == "backing_off"
    due = p.row(t).run_at
    paused(p, t)
    p.clock.go(0.1)

    resumed = resume.resume(p.w, TENANT, t)

    assert (resumed["state"], resumed["reason"]["code"], p.row(t).run_at) == ("waiting", "backing_off", due)
    paused(p, t)
    p.clock.go(60)
    assert reconcile.promote(p.w, p.term()) == []
    assert resume.resume(p.w, TENANT, t)["state"] == "queued"


def test_a_paused_job_waits_again_for_what_it_still_needs(p: SmallPlatform) -> None:
    a, b = p.submit(train("a") + "---\n" + train("b"))
    g = p.one(generate("g", model="a", more="needs: [a, b]\n"))
    paused(p, g)
    p.trainer(p.open(a)).publish()
    assert p.state(g) == "paused"

    resumed = resume.resume(p.w, TENANT, g)

    assert (resumed["state"], resumed["reason"]["message"]) == ("waiting", "It waits for b.")
    paused(p, g)
    p.trainer(p.open(b)).publish()
    assert p.state(g) == "paused"
    assert resume.resume(p.w, TENANT, g)["state"] == "queued"


def test_a_paused_job_whose_need_ends_otherwise_is_cancelled_with_all_that_need_it(p: SmallPlatform) -> None:
    a = p.one(train("a"))
    b = p.one(train("b", "needs: [a]\n"))
    c = p.one(generate("c", model="b", more="needs: [b]\n"))
    paused(p, b)

    p.trainer(p.open(a)).fail()

    assert [(p.state(j), p.reason(j)) for j in (b, c)] == [("cancelled", "dependency_failed")] * 2


def test_asking_twice_is_asking_once(p: SmallPlatform) -> None:
    t = p.one(train("t"))
    q = p.one(train("q"))
    p.open(t)
    for job_id, state in ((t, "starting"), (q, "paused")):
        for _ in range(2):
            assert pause.pause(p.w, TENANT, job_id)["state"] == state
    for job_id, state in ((t, "starting"), (q, "queued")):
        for _ in range(2):
            assert resume.resume(p.w, TENANT, job_id)["state"] == state

    assert [e["type"] for e in p.events(t)] == ["submitted", "starting", "pausing", "pause_taken_back"]
    assert [e["type"] for e in p.events(q)] == ["submitted", "paused", "queued"]


def test_a_pause_that_is_taken_back_in_time_costs_the_run_nothing(p: SmallPlatform) -> None:
    t = p.one(train())
    node = p.trainer(p.open(t))
    node.start()
    pause.pause(p.w, TENANT, t)

    answer = resume.resume(p.w, TENANT, t)

    assert (answer["state"], answer["reason"]) == ("running", None)
    assert node.heartbeat() == []
    assert node.publish() == "t@1"


def test_a_worker_that_heard_of_the_pause_lets_go_and_the_job_is_queued_at_once(p: SmallPlatform) -> None:
    t = p.one(train("t", ONCE))
    node = p.trainer(p.open(t))
    node.start()
    pause.pause(p.w, TENANT, t)
    resume.resume(p.w, TENANT, t)

    node.release("pause", step=7)

    assert p.state(t) == "queued"


def test_what_is_over_or_being_cancelled_is_neither_paused_nor_resumed(p: SmallPlatform) -> None:
    succeeded = p.trained("s")
    failed = p.one(train("f"))
    p.trainer(p.open(failed)).fail()
    cancelling = p.one(train("c"))
    p.open(cancelling)
    cancel.cancel(p.w, TENANT, cancelling)

    for job_id, words in (
        (succeeded, "has succeeded already"),
        (failed, "has failed already"),
        (cancelling, "is being cancelled"),
    ):
        for verb in (pause.pause, resume.resume):
            with pytest.raises(Conflict, match=words) as refused:
                verb(p.w, TENANT, job_id)
            assert refused.value.hint
    with pytest.raises(NotFound):
        pause.pause(p.w, TENANT, "nobody")


def test_a_paused_job_is_cancelled_at_once(p: SmallPlatform) -> None:
    t = p.one(train())
    paused(p, t)

    assert cancel.cancel(p.w, TENANT, t)["state"] == "cancelled"

    with pytest.raises(Conflict, match="was cancelled already"):
        resume.resume(p.w, TENANT, t)


def test_a_cancel_is_stronger_than_a_pause_that_is_not_done_yet(p: SmallPlatform) -> None:
    t = p.one(train())
    node = p.trainer(p.open(t))
    node.start()
    pause.pause(p.w, TENANT, t)

    answer = cancel.cancel(p.w, TENANT, t)

    assert (answer["state"], p.row(t).wish) == ("cancelling", None)
    assert [s["reason"] for s in node.heartbeat()] == ["cancel"]
    node.release("pause", step=3)
    assert p.state(t) == "cancelled"


def test_without_redis_a_pause_is_acknowledged_and_the_flag_put_up_later(p: SmallPlatform) -> None:
    t = p.one(train())
    p.open(t)
    p.queues.reachable = False
    assert pause.pause(p.w, TENANT, t)["reason"]["code"] == "pausing"
    p.queues.reachable = True
    assert p.queues.stops([JobKey(TENANT, t)]) == {}

    reconcile.restore(p.w, reconcile.open_jobs(p.w))

    assert p.queues.stops([JobKey(TENANT, t)]) == {JobKey(TENANT, t): "pause"}
