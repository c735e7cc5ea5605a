"""Limits of time: a deadline ends its job wherever it stands, and no run takes longer than its job allows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dispatched import Dispatched
from effort import statements
from small_platform import TENANT, generate, train

from genplatform.dispatch.limits import GRACE_SECONDS
from genplatform.domain.job import ReasonCode
from genplatform.domain.keys import JobKey
from genplatform.domain.states import JobState
from genplatform.domain.times import rfc3339
from genplatform.errors import BadSpec, Conflict
from genplatform.services import cancel, limits, reconcile


def running(d: Dispatched, text: str) -> str:
    job_id = d.one(text)
    d.tick()
    d.run_node(job_id).start()
    return job_id


def paused(d: Dispatched, text: str) -> str:
    job_id = d.one(text)
    with d.w.catalog.write() as tx:
        tx.jobs.move(d.row(job_id).id, JobState.PAUSED)
    return job_id


def test_a_deadline_that_has_passed_is_refused_with_its_place(d: Dispatched) -> None:
    at = rfc3339(d.clock.now - 1)

    with pytest.raises(BadSpec) as caught:
        d.submit(train() + "---\n" + train("late", f"deadline: {at}\n"))

    (problem,) = caught.value.problems
    assert problem.message == f"deadline is {at}, which has passed."
    assert (problem.path, problem.document, problem.line) == ("deadline", 1, 12)
    assert str(rfc3339(d.clock.now)) in problem.hint


def test_when_runs_began_is_asked_once_for_all_of_them(d: Dispatched) -> None:
    d.engine.cpus = 8.0
    began = {}
    for name in ("a", "b", "c"):
        began[d.row(running(d, train(name, "timeout: 2h\n"))).id] = d.clock.now
        d.clock.go(7)
    silent = d.one(train("silent", "timeout: 2h\n"))
    d.tick()
    rows = reconcile.open_jobs(d.w)
    old = [replace(row, run=row.run + 1) for row in rows]
    found = []

    asked = statements(d.w.catalog, lambda: found.append(limits.began(d.w, rows)))

    assert d.state(silent) == "starting"
    assert (found, len(asked)) == ([began], 1)
    assert limits.began(d.w, old) == {}
    assert statements(d.w.catalog, lambda: limits.began(d.w, [])) == []


@pytest.mark.parametrize("written", ["60", "1m", "moment"])
def test_a_deadline_is_kept_and_shown(d: Dispatched, written: str) -> None:
    at = d.clock.now + 60
    job_id = d.one(train(more=f"deadline: {rfc3339(at) if written == 'moment' else written}\n"))

    assert d.job(job_id)["deadline_at"] == rfc3339(at)
    assert d.row(job_id).deadline_at == at


def test_what_waits_past_its_deadline_fails_wherever_it_stands(d: Dispatched) -> None:
    d.engine.cpus = 1.0
    running(d, train("first"))
    queued = d.one(train("queued", "deadline: 60\n"))
    waiting = d.one(train("waiting", "needs: [queued]\ndeadline: 30\n"))
    after = d.one(train("after", "needs: [waiting]\n"))
    resting = paused(d, train("resting", "deadline: 60\n"))
    d.go(29)
    assert [d.state(j) for j in (queued, waiting, resting)] == ["queued", "waiting", "paused"]

    d.go(2)
    assert (d.state(waiting), d.reason(waiting)) == ("failed", "deadline")
    assert (d.state(after), d.reason(after)) == ("cancelled", "dependency_failed")
    d.go(30)

    assert [(d.state(j), d.reason(j)) for j in (queued, resting)] == [("failed", "deadline")] * 2
    error = d.job(queued)["error"]
    assert error["code"] == "deadline"
    assert error["message"].startswith("It had not ended by its deadline, 20")
    assert d.job(queued)["runs"] == []


def test_a_run_past_its_jobs_deadline_is_asked_first_and_its_word_ends_the_job(d: Dispatched) -> None:
    t = running(d, train(more="deadline: 60\n"))
    node = d.run_node(t)
    d.go(61, beat=node.heartbeat)

    assert (d.state(t), d.engine.table[node.key.actor].asked) == ("running", ["deadline"])
    node.checkpoint(40)
    node.release("deadline", step=40)

    job = d.job(t)
    assert (job["state"], job["error"]["code"], job["runs"][0]["cause"]) == ("failed", "deadline", "deadline")
    assert "It stopped at step 40 as asked." in job["error"]["message"]
    assert job["deadline_at"] is None


def test_a_run_that_does_not_stop_at_the_deadline_is_ended_after_its_grace(d: Dispatched) -> None:
    t = running(d, train(more="deadline: 60\n"))
    node = d.run_node(t)

    d.go(60 + GRACE_SECONDS, beat=node.heartbeat)
    assert d.state(t) == "running"
    d.go(2)

    assert (d.state(t), d.reason(t), d.engine.killed) == ("failed", "deadline", [node.key.actor])


def test_a_job_that_ends_before_its_deadline_is_left_alone(d: Dispatched) -> None:
    t = running(d, train(more="deadline: 60\n"))
    d.run_node(t).publish()

    d.go(120)

    assert (d.state(t), d.row(t).deadline_at) == ("succeeded", None)


def test_a_model_published_in_the_grace_counts(d: Dispatched) -> None:
    t = running(d, train(more="deadline: 60\n"))
    node = d.run_node(t)
    d.go(62, beat=node.heartbeat)

    assert node.publish() == "t@1"

    d.go(60)
    assert d.state(t) == "succeeded"


def test_what_a_generate_job_published_by_its_deadline_stays(d: Dispatched) -> None:
    g = d.one(generate(more="deadline: 60\n"))
    d.tick()
    (node,) = d.workers(g)
    node.work(most=1)
    (order,) = node.claim()

    d.go(61, beat=lambda: node.heartbeat([order]))

    assert (d.state(g), d.reason(g), d.job(g)["outputs"]["count"]) == ("failed", "deadline", 64)
    assert not node.publish(order)
    assert node.claim() == []


def test_a_deadline_is_kept_though_the_engine_is_away(d: Dispatched) -> None:
    t = running(d, train(more="deadline: 60\n"))
    node = d.run_node(t)
    d.engine.reachable = False

    d.go(62 + GRACE_SECONDS, beat=node.heartbeat)

    assert (d.state(t), d.reason(t)) == ("failed", "deadline")
    d.engine.reachable = True
    d.go(6)
    assert d.engine.names() == []


def test_a_cancelled_job_is_not_failed_by_its_deadline(d: Dispatched) -> None:
    t = running(d, train(more="deadline: 60\n"))
    node = d.run_node(t)
    d.go(58, beat=node.heartbeat)
    cancel.cancel(d.w, TENANT, t)

    d.go(30, beat=node.heartbeat)

    assert (d.state(t), d.row(t).deadline_at) == ("cancelled", None)


def test_deadlines_are_looked_at_in_bounded_steps(d: Dispatched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BATCH", 2)
    d.engine.cpus = 0.0
    waiting = [d.one(train(f"t{n}", "deadline: 10\n")) for n in range(5)]
    d.go(9)
    d.clock.go(5)

    left = []
    for _ in range(3):
        d.tick()
        left.append(sum(d.state(job_id) == "queued" for job_id in waiting))

    assert left == [3, 1, 0]


def test_a_job_that_was_started_since_it_was_looked_at_is_not_failed_as_one_that_waits(d: Dispatched) -> None:
    t = running(d, train(more="deadline: 10\n"))
    d.clock.go(11)

    assert limits.fail_overdue(d.w, d.term()) == []
    assert d.state(t) == "running"


def test_a_run_that_takes_too_long_is_asked_and_fails_its_job_unless_that_is_to_be_tried_again(d: Dispatched) -> None:
    once = running(d, train("once", "timeout: 2m\n"))
    again = running(d, train("again", "timeout: 2m\nretry: {on: [timeout]}\n"))
    nodes = [d.run_node(once), d.run_node(again)]

    d.go(119, beat=lambda: [n.heartbeat() for n in nodes])
    assert [d.engine.table[n.key.actor].asked for n in nodes] == [[], []]
    d.go(2, beat=lambda: [n.heartbeat() for n in nodes])
    assert [d.engine.table[n.key.actor].asked for n in nodes] == [["timeout"], ["timeout"]]
    for node in nodes:
        node.release("timeout", step=40)

    error = d.job(once)["error"]
    assert (d.state(once), error["code"]) == ("failed", "timeout")
    assert error["message"] == "It took longer than 2m, the `timeout` of a run. It stopped at step 40 as asked."
    assert (d.state(again), d.reason(again)) == ("queued", "timeout")
    d.tick()
    assert d.row(again).run == 2


def test_each_run_has_the_time_for_itself_and_one_that_starts_uses_none_of_it(d: Dispatched) -> None:
    t = running(d, train(more="timeout: 60\n"))
    first = d.run_node(t)
    d.go(50, beat=first.heartbeat)
    d.engine.die(first.key.actor)
    d.tick(2)
    d.go(30)
    second = d.run_node(t)
    second.start()

    d.go(59, beat=second.heartbeat)

    assert (d.row(t).run, d.engine.table[second.key.actor].asked) == (2, [])
    d.go(2, beat=second.heartbeat)
    assert d.engine.table[second.key.actor].asked == ["timeout"]


def test_a_run_that_does_not_stop_in_time_is_ended(d: Dispatched) -> None:
    t = running(d, train(more="timeout: 60\n"))
    node = d.run_node(t)

    d.go(63 + GRACE_SECONDS, beat=node.heartbeat)

    assert (d.state(t), d.reason(t), d.engine.killed) == ("failed", "timeout", [node.key.actor])
    assert "Its worker was ended after 20 s of grace." in d.job(t)["error"]["message"]


def test_a_generate_jobs_run_ends_at_once_and_the_next_makes_what_is_left(d: Dispatched) -> None:
    g = d.one(generate(more="timeout: 60\nretry: {on: [timeout]}\n"))
    d.tick()
    (node,) = d.workers(g)
    node.work(most=1)
    (order,) = node.claim()

    d.go(61, beat=lambda: node.heartbeat([order]))

    assert (d.row(g).run, [r["cause"] for r in d.job(g)["runs"]]) == (2, ["timeout", None])
    assert not node.publish(order)
    node.work()
    d.tick()
    assert d.state(g) == "succeeded"


def test_a_takeover_changes_no_limit(d: Dispatched) -> None:
    t = running(d, train(more="timeout: 60\n"))
    node = d.run_node(t)
    d.go(50, beat=node.heartbeat)
    d.clock.go(6)
    other = d.another("d2")

    for _ in range(12):
        d.clock.go(0.5)
        node.heartbeat()
        other.tick()

    assert d.engine.table[node.key.actor].asked == ["timeout"]


def test_a_fenced_out_dispatcher_fails_nothing_by_deadlines(d: Dispatched) -> None:
    d.engine.cpus = 0.0
    t = d.one(train(more="deadline: 10\n"))
    d.tick()
    d.clock.go(11)
    d.another("d2").tick(start=False)

    assert (d.state(t), d.reason(t)) == ("failed", ReasonCode.DEADLINE.value)
    with pytest.raises(Conflict):
        cancel.cancel(d.w, TENANT, t)
    assert d.queues.stops([JobKey(TENANT, t)]) == {}
