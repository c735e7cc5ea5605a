"""Pausing what runs: its workers are freed for others, and it goes on from where it stood when a person says so."""

from __future__ import annotations

from dispatched import Dispatched
from small_platform import TENANT, generate, train

from genplatform.services import cancel, pause, resume

WHOLE = "resources: {cpus_per_worker: 4}\n"


def running(d: Dispatched, name: str = "t", more: str = "") -> str:
    t = d.one(train(name, more))
    d.tick()
    d.run_node(t).start()
    return t


def test_a_paused_run_frees_its_workers_for_another_and_goes_on_after_it(d: Dispatched) -> None:
    t = running(d, more=WHOLE)
    q = d.one(train("q", WHOLE))
    d.tick()
    assert d.state(q) == "queued"
    node = d.run_node(t)

    pause.pause(d.w, TENANT, t)
    d.tick(3)
    assert d.engine.table[node.key.actor].asked == ["pause"]
    node.checkpoint(40)
    node.release("pause", step=40)
    d.engine.die(node.key.actor)
    d.go(1)

    assert (d.state(t), d.state(q)) == ("paused", "starting")
    assert d.engine.killed == []
    d.run_node(q).publish()
    d.engine.die(d.row(q).run_key.actor)
    d.go(20)
    assert d.state(t) == "paused"

    resume.resume(d.w, TENANT, t)
    d.tick()

    assert [c["step"] for c in d.run_node(t).order["resume"]] == [40]
    assert d.run_node(t).publish() == "t@1"


def test_a_run_that_does_not_let_go_is_ended_after_its_grace_and_its_job_paused(d: Dispatched) -> None:
    t = running(d, more="retry: {max: 0}\n")
    node = d.run_node(t)
    pause.pause(d.w, TENANT, t)

    d.go(60, node.heartbeat)
    assert (d.state(t), d.reason(t)) == ("running", "pausing")
    d.go(1, node.heartbeat)

    assert (d.state(t), d.reason(t), d.engine.killed) == ("paused", "paused", [node.key.actor])
    assert d.job(t)["runs"][0]["cause"] == "paused"


def test_a_run_that_was_asked_to_pause_hears_of_the_cancel_too(d: Dispatched) -> None:
    t = running(d)
    node = d.run_node(t)
    pause.pause(d.w, TENANT, t)
    d.tick()

    cancel.cancel(d.w, TENANT, t)
    d.tick(2)

    assert d.engine.table[node.key.actor].asked == ["pause", "cancel"]
    d.go(11)
    assert (d.state(t), d.engine.killed) == ("cancelled", [node.key.actor])


def test_a_pause_that_is_taken_back_leaves_the_worker_alone(d: Dispatched) -> None:
    t = running(d)
    node = d.run_node(t)
    pause.pause(d.w, TENANT, t)
    resume.resume(d.w, TENANT, t)

    d.go(70, node.heartbeat)

    assert d.state(t) == "running"
    assert (d.engine.table[node.key.actor].asked, d.engine.killed) == ([], [])


def test_a_worker_that_dies_while_it_is_to_pause_leaves_the_job_paused(d: Dispatched) -> None:
    t = running(d, more="retry: {max: 0}\n")
    pause.pause(d.w, TENANT, t)

    d.engine.die(d.row(t).run_key.actor)
    d.go(1)

    assert d.state(t) == "paused"
    assert [(r["state"], r["cause"]) for r in d.job(t)["runs"]] == [("lost", "node_lost")]


def test_a_paused_generate_jobs_workers_make_room_for_another(d: Dispatched) -> None:
    g = d.one(generate(more="resources: {workers: 4}\n", count=256))
    d.tick()
    workers = d.workers(g)
    held = [worker.claim()[0] for worker in workers]
    assert workers[0].publish(held[0])

    pause.pause(d.w, TENANT, g)
    t = d.one(train("t", WHOLE))
    d.go(1)

    assert (d.state(g), d.state(t)) == ("paused", "starting")
    assert [w.publish(order) for w, order in zip(workers[1:], held[1:], strict=True)] == [False] * 3
    d.run_node(t).publish()
    d.engine.die(d.row(t).run_key.actor)
    resume.resume(d.w, TENANT, g)
    d.go(1)
    assert sum(worker.work() for worker in d.workers(g)) == 3
    d.go(1)
    assert d.state(g) == "succeeded"


def test_a_pause_survives_the_platform_going_down(d: Dispatched) -> None:
    t = running(d)
    node = d.run_node(t)
    pause.pause(d.w, TENANT, t)

    def wait(_: float) -> None:
        node.checkpoint(40)
        node.release("shutdown", step=40)

    d.dispatcher.drain(15, wait)

    assert (d.state(t), d.job(t)["runs"][0]["cause"]) == ("paused", "shutdown")


def test_a_new_leader_sees_a_pause_through(d: Dispatched) -> None:
    t = running(d)
    node = d.run_node(t)
    pause.pause(d.w, TENANT, t)
    d.dispatcher = d.another("d2", d.engine)

    d.go(7, node.heartbeat)

    assert set(d.engine.table[node.key.actor].asked) == {"pause"}
