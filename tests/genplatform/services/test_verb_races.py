"""Pause, resume, cancel, retry and finishing at the same moment, on each database: one winner, and a legal history.

Events are written with what they tell of, so a job's events are the path it took through its states.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from small_platform import TENANT, SmallPlatform, generate, train
from together import together

from genplatform.domain.retry import Cause
from genplatform.domain.states import JOB_TRANSITIONS, TERMINAL_JOB_STATES, JobState
from genplatform.errors import Conflict, Fenced
from genplatform.services import cancel, pause, resume, retry
from genplatform.services.endings import Ending, close_run

ROUNDS = 4
LOST = Ending(Cause.NODE_LOST, "It is gone.")
Call = Callable[[], object]
STATE_OF = {
    "starting": JobState.STARTING,
    "running": JobState.RUNNING,
    "paused": JobState.PAUSED,
    "queued": JobState.QUEUED,
    "cancelling": JobState.CANCELLING,
    "cancelled": JobState.CANCELLED,
    "succeeded": JobState.SUCCEEDED,
    "failed": JobState.FAILED,
}


def told(call: Callable[[], object]) -> Callable[[], str]:
    """Make a call that says how it ended: done, conflict or fenced."""

    def run() -> str:
        try:
            call()
        except Fenced:
            return "fenced"
        except Conflict:
            return "conflict"
        return "done"

    return run


def at_once(*calls: Callable[[], object]) -> list[str]:
    return together([told(call) for call in calls])


def path(p: SmallPlatform, job_id: str) -> list[JobState]:
    """Return the states that a job's events tell of; a retrying one is queued or waits as its delay says."""
    states = [JobState(p.events(job_id, "submitted")[0]["data"]["state"])]
    for event in p.events(job_id):
        if event["type"] == "retrying":
            states.append(JobState.WAITING if event["data"]["delay_seconds"] else JobState.QUEUED)
        elif event["type"] in STATE_OF:
            states.append(STATE_OF[event["type"]])
    return states


def check(p: SmallPlatform, job_id: str) -> JobState:
    """Hold a job's history to the transition table; return where it ended."""
    states = path(p, job_id)
    assert [pair for pair in pairwise(states) if pair[1] not in JOB_TRANSITIONS[pair[0]]] == []
    row = p.row(job_id)
    assert states[-1] is row.job_state
    assert row.wish is None or row.job_state in (JobState.STARTING, JobState.RUNNING)
    if row.job_state in TERMINAL_JOB_STATES | {JobState.PAUSED, JobState.QUEUED}:
        assert all(r["finished_at"] for r in p.job(job_id)["runs"])
    return states[-1]


def running(p: SmallPlatform, name: str) -> tuple[str, Any]:
    t = p.one(train(name, "retry: {max: 9}\n"))
    node = p.trainer(p.open(t))
    node.start()
    return t, node


def versions(p: SmallPlatform, name: str) -> int:
    with p.w.catalog.read() as tx:
        return sum(m.name == name for m in tx.models.all(TENANT))


def test_a_pause_and_a_publication(on_each: SmallPlatform) -> None:
    p = on_each
    for n in range(ROUNDS):
        t, node = running(p, f"t{n}")

        paused, published = at_once(lambda t=t: pause.pause(p.w, TENANT, t), node.publish)

        assert published == "done"
        assert (paused == "conflict") == (not p.events(t, "pausing"))
        assert check(p, t) is JobState.SUCCEEDED


def test_a_pause_a_release_and_a_loss(on_each: SmallPlatform) -> None:
    p = on_each
    for n in range(ROUNDS):
        t, node = running(p, f"t{n}")

        said = at_once(
            lambda t=t: pause.pause(p.w, TENANT, t),
            lambda node=node: node.release("pause", 3),
            lambda node=node: close_run(p.w, node.key, LOST),
        )

        assert said[0] == "done"
        assert check(p, t) is JobState.PAUSED
        assert len(p.events(t, "run_ended")) == 1


def test_a_pause_and_a_cancel(on_each: SmallPlatform) -> None:
    p = on_each
    for n in range(ROUNDS):
        t, _ = running(p, f"t{n}")
        g, _ = p.generating(generate(f"g{n}"))
        q = p.one(train(f"q{n}"))

        for job_id, end in ((t, JobState.CANCELLING), (g, None), (q, JobState.CANCELLED)):
            said = at_once(lambda j=job_id: pause.pause(p.w, TENANT, j), lambda j=job_id: cancel.cancel(p.w, TENANT, j))

            assert said[1] == "done"
            assert (said[0] == "conflict") == (not p.events(job_id, "pausing", "paused"))
            reached = check(p, job_id)
            # One that was paused first has no Run to let go of.
            assert reached is (end or (JobState.CANCELLED if p.events(job_id, "paused") else JobState.CANCELLING))


def test_a_cancel_and_a_finish(on_each: SmallPlatform) -> None:
    p = on_each
    ends: Counter[str] = Counter()
    for n in range(ROUNDS * 2):
        t, node = running(p, f"t{n}")

        cancelled, published = at_once(lambda t=t: cancel.cancel(p.w, TENANT, t), node.publish)

        assert sorted((cancelled, published)) in (["conflict", "done"], ["done", "fenced"])
        state = check(p, t)
        assert (state is JobState.SUCCEEDED) == (published == "done")
        assert (state is JobState.CANCELLING) == (cancelled == "done")
        assert versions(p, f"t{n}") == (published == "done")
        ends[state] += 1
    assert sum(ends.values()) == ROUNDS * 2


def test_after_an_acknowledged_cancel_or_pause_no_shard_is_published(on_each: SmallPlatform) -> None:
    p = on_each
    for n, verb in enumerate([cancel.cancel, pause.pause] * 2):
        g, worker = p.generating(generate(f"g{n}", count=256))
        held = [worker.claim()[0] for _ in range(4)]
        stored = [worker.store(order) for order in held]

        def stop(verb: Any = verb, g: str = g) -> int:
            verb(p.w, TENANT, g)
            return p.row(g).done

        def publish(one: dict[str, Any], worker: Any = worker) -> int:
            return int(worker.tell([one])[0]["published"])

        at_stop, *published = together([stop, *(lambda one=one: publish(one) for one in stored)])

        assert p.row(g).done == at_stop == 64 * sum(published)
        assert Counter(s.state for s in p.shards(g))["published"] == sum(published)
        assert check(p, g) is (JobState.PAUSED if verb is pause.pause else JobState.CANCELLING)


def test_pauses_and_resumes(on_each: SmallPlatform) -> None:
    p = on_each
    for n in range(ROUNDS):
        q = p.one(train(f"q{n}"))
        t, _ = running(p, f"t{n}")

        for job_id in (q, t):
            verbs: Sequence[Call] = [
                lambda v=verb, j=job_id: v(p.w, TENANT, j) for verb in (pause.pause, resume.resume) * 3
            ]
            assert at_once(*verbs) == ["done"] * 6
            check(p, job_id)

        assert p.state(q) in ("queued", "paused")
        assert (p.state(t), p.row(t).wish) in (("running", None), ("running", "pause"))


def test_resumes_and_a_need_that_succeeds_leave_nobody_waiting(on_each: SmallPlatform) -> None:
    p = on_each
    t, node = running(p, "t")
    needing = p.submit("---\n".join(train(f"t{k}", "needs: [t]\n") for k in range(8)))
    for job_id in needing:
        pause.pause(p.w, TENANT, job_id)

    at_once(node.publish, *(lambda j=j: resume.resume(p.w, TENANT, j) for j in needing))

    assert p.state(t) == "succeeded"
    assert {(p.state(j), p.row(j).open_needs) for j in needing} == {("queued", 0)}


def test_a_need_that_succeeds_in_the_middle_of_a_resume_waits_for_its_end(on_each: SmallPlatform) -> None:
    p = on_each
    t, node = running(p, "t")
    g = p.one(generate("g", model="t", more="needs: [t]\n"))
    pause.pause(p.w, TENANT, g)
    published = threading.Event()
    publisher = threading.Thread(target=lambda: (node.publish(), published.set()))

    def clock_in_the_middle() -> float:
        publisher.start()
        published.wait(0.5)  # never, for the row is held by the resume
        return p.clock()

    resume.resume(replace(p.w, clock=clock_in_the_middle), TENANT, g)
    publisher.join()

    assert (p.state(t), p.state(g), p.row(g).open_needs) == ("succeeded", "queued", 0)


def test_a_resume_or_a_pause_and_a_need_that_fails(on_each: SmallPlatform) -> None:
    p = on_each
    for n, verb in enumerate([resume.resume, pause.pause] * 2):
        _, node = running(p, f"t{n}")
        g = p.one(generate(f"g{n}", model=f"t{n}", more=f"needs: [t{n}]\n"))
        if verb is resume.resume:
            pause.pause(p.w, TENANT, g)

        at_once(node.fail, lambda g=g, verb=verb: verb(p.w, TENANT, g))

        assert (p.state(g), p.reason(g)) == ("cancelled", "dependency_failed")


@pytest.mark.parametrize("keys", [[None] * 6, list("abcdef"), ["k"] * 6], ids=["no keys", "other keys", "one key"])
def test_many_that_retry_one_job_make_one(on_each: SmallPlatform, keys: list[str | None]) -> None:
    p = on_each
    old = p.one(train("t"))
    below = p.one(train("u", "needs: [t]\n"))
    p.trainer(p.open(old)).fail()

    answers = together([lambda k=k: retry.retry(p.w, TENANT, old, key=k)["jobs"] for k in keys])

    made = {job["id"] for jobs in answers for job in jobs if job["retry_of"] == old}
    assert len(made) == 1
    assert all(jobs[0]["id"] in made for jobs in answers)
    with p.w.catalog.read() as tx:
        again = [j for j in tx.jobs.page(TENANT, states=[], queue=None, before=None, limit=50) if j.retry_of]
    assert sorted(j.retry_of or "" for j in again) == sorted([old, below])


def test_retries_of_two_that_a_job_needs_and_of_the_job_itself_do_it_again_once(on_each: SmallPlatform) -> None:
    p = on_each
    a, b = p.submit(train("a") + "---\n" + train("b"))
    c = p.one(train("c", "needs: [a, b]\n"))
    for job_id in (a, b):
        p.trainer(p.open(job_id)).fail()

    at_once(*(lambda j=j: retry.retry(p.w, TENANT, j) for j in (a, b, c) * 2))
    retry.retry(p.w, TENANT, c)

    with p.w.catalog.read() as tx:
        again = [j for j in tx.jobs.page(TENANT, states=[], queue=None, before=None, limit=50) if j.retry_of]
    assert Counter(j.retry_of for j in again) == {a: 1, b: 1, c: 1}
    assert p.state("c") == "waiting"
    for name in ("a", "b"):
        p.trainer(p.open(p.job(name)["id"])).publish()
    assert p.state("c") == "queued"


def test_a_retry_and_an_open_need_that_succeeds_leave_nothing_waiting(on_each: SmallPlatform) -> None:
    p = on_each
    for n in range(ROUNDS):
        _, node = running(p, f"t{n}")
        g = p.one(generate(f"g{n}", model=f"t{n}", more=f"needs: [t{n}]\n"))
        cancel.cancel(p.w, TENANT, g)

        at_once(node.publish, lambda g=g: retry.retry(p.w, TENANT, g))

        assert (p.state(f"g{n}"), p.row(p.job(f"g{n}")["id"]).open_needs) == ("queued", 0)


def test_everything_at_once_is_a_legal_history(on_each: SmallPlatform) -> None:
    p = on_each
    for n in range(ROUNDS):
        t, node = running(p, f"t{n}")
        calls: list[Call] = [node.publish, node.fail, lambda node=node: node.release("pause", 1)]
        calls.append(lambda node=node: close_run(p.w, node.key, LOST))
        calls += [
            lambda v=verb, t=t: v(p.w, TENANT, t)
            for verb in (pause.pause, resume.resume, cancel.cancel, pause.pause, retry.retry)
        ]

        said = at_once(*calls)

        state = check(p, t)
        assert len(p.events(t, "run_ended", "succeeded")) <= 1
        assert (said[0] == "done") == (state is JobState.SUCCEEDED) == bool(versions(p, f"t{n}"))
        assert len([e for e in p.events(t) if e["type"] in ("succeeded", "failed", "cancelled")]) <= 1
