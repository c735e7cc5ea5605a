"""Jobs on their road from submit to the end, as the dispatcher's rounds bring them along."""

from __future__ import annotations

import pytest
from dispatched import TICK_SECONDS, Dispatched
from fake_node import CommandNode
from small_platform import TENANT, command, generate, train

from genplatform.domain import layout
from genplatform.domain.keys import JobKey
from genplatform.domain.times import RECONCILE_SECONDS
from genplatform.engine.seam import COMMAND_ACTOR, POOL_ACTOR, RUN_ACTOR, End
from genplatform.errors import BadRequest
from genplatform.services import jobs, outputs, update


def test_a_model_is_trained_and_pictures_are_made_with_it(d: Dispatched) -> None:
    t, g = d.submit(
        train("t") + "---\n" + generate("g", count=300, model="t@latest", more="needs: [t]\nresources: {workers: 2}\n")
    )
    d.tick()
    actor = d.engine.table[f"run/{TENANT}/{t}/1"]
    assert (actor.actor, actor.cpus, d.state(t), d.state(g)) == (RUN_ACTOR, 1.0, "starting", "waiting")

    node = d.run_node(t)
    node.start()
    node.report(progress={"done": 50, "total": 100, "unit": "steps", "rate": 10.0})
    d.tick()
    assert d.job(t)["progress"]["eta_seconds"] == 5.0
    node.publish()
    d.engine.die(node.key.actor, "It ended: published.")
    d.tick()

    first, second = d.workers(g)
    assert {d.engine.table[w.name].actor for w in (first, second)} == {POOL_ACTOR}
    assert (d.state(t), d.state(g)) == ("succeeded", "starting")
    first.work(most=2)
    assert d.state(g) == "running"
    second.work()
    d.tick()

    job = d.job(g)
    assert (job["state"], job["model"], job["outputs"]["count"]) == ("succeeded", "t@1", 300)
    assert outputs.ls(d.w, TENANT, g, limit=300)["next"] is None
    assert [a["kind"] for a in jobs.artifacts(d.w, TENANT, g)["artifacts"]] == ["manifest"]
    assert [r["state"] for r in d.job(t)["runs"] + job["runs"]] == ["succeeded", "succeeded"]


def test_a_submitted_job_starts_with_the_next_round(d: Dispatched) -> None:
    d.tick()
    t = d.one(train())

    assert d.queues.wait_for_wake(0)
    d.tick()

    assert d.state(t) == "starting"


def test_a_submit_that_redis_never_heard_of_starts_with_the_next_reconcile(d: Dispatched) -> None:
    d.tick()
    d.queues.reachable = False
    t = d.one(train())
    d.queues.reachable = True

    d.tick()
    assert d.state(t) == "queued"
    d.go(6)

    assert d.state(t) == "starting"


def test_without_redis_jobs_still_start_and_end(d: Dispatched) -> None:
    d.queues.reachable = False
    t = d.one(train())
    d.go(6)
    assert d.state(t) == "starting"

    node = d.run_node(t)
    node.start()
    node.publish()

    assert d.state(t) == "succeeded"


def test_what_does_not_fit_waits_and_says_why_and_starts_when_there_is_room(d: Dispatched) -> None:
    big, small, vast = d.submit(
        "---\n".join(
            [
                train("big", "resources: {cpus_per_worker: 3}\n"),
                train("small", "resources: {cpus_per_worker: 2}\n"),
                train("vast", "resources: {cpus_per_worker: 64}\n"),
            ]
        )
    )
    d.tick(2)

    assert [d.state(j) for j in (big, small, vast)] == ["starting", "queued", "queued"]
    assert (d.reason(small), d.reason(vast)) == ("no_capacity", "needs_cpu")
    assert d.job(small)["reason"]["message"].startswith("It needs 2 CPUs")
    assert d.job(vast)["reason"]["message"] == "It needs 64 CPUs; the cluster has 4 CPUs."

    d.run_node(big).publish()
    d.engine.die(f"run/{TENANT}/{big}/1")
    d.tick(2)

    assert (d.state(small), d.reason(small)) == ("starting", None)


def test_a_gang_starts_whole_or_not_at_all_and_its_room_is_nobody_elses(d: Dispatched) -> None:
    before, gang, after = d.submit(
        "---\n".join(
            [
                train("before", "resources: {cpus_per_worker: 2}\n"),
                train("gang", "resources: {workers: 2, cpus_per_worker: 1.5}\n"),
                train("after", "resources: {cpus_per_worker: 2}\n"),
            ]
        )
    )
    d.tick(2)
    assert [d.state(j) for j in (before, gang, after)] == ["starting", "queued", "starting"]
    assert d.job(gang)["reason"]["message"].startswith("It needs 3 CPUs")

    for done in (before, after):
        d.run_node(done).publish()
        d.engine.die(f"run/{TENANT}/{done}/1")
    d.tick()
    late = d.one(train("late", "resources: {cpus_per_worker: 2}\n"))
    d.tick(2)

    driver = d.engine.table[f"run/{TENANT}/{gang}/1"]
    assert (driver.actor, driver.cpus) == (RUN_ACTOR, 0.0)
    assert driver.order["gang"] == {"workers": 2, "cpus": 1.5, "gpus": 0.0, "avoid": []}
    assert [d.state(j) for j in (gang, late)] == ["starting", "queued"]


def test_an_elastic_training_takes_the_workers_there_are_and_one_alone_is_no_gang(d: Dispatched) -> None:
    elastic = "resources: {workers: 1..8}\n"
    (first,) = d.submit(train("first", elastic))
    d.tick(2)
    assert d.engine.table[f"run/{TENANT}/{first}/1"].order["gang"]["workers"] == 4

    d.run_node(first).publish()
    d.engine.die(f"run/{TENANT}/{first}/1")
    filler, second = d.submit(train("filler", "resources: {cpus_per_worker: 3}\n") + "---\n" + train("second", elastic))
    d.tick(2)

    assert d.state(filler) == "starting"
    alone = d.engine.table[f"run/{TENANT}/{second}/1"]
    assert ("gang" in alone.order, alone.cpus) == (False, 1.0)


def test_the_place_in_the_line_that_is_shown_is_true(d: Dispatched) -> None:
    d.engine.cpus = 1.0
    ids = d.submit("---\n".join(train(f"t{n}") for n in range(4)))
    d.tick(2)
    assert (d.job(ids[3])["position"], d.reason(ids[1]), d.reason(ids[3])) == (3, "no_capacity", "behind_others")

    d.run_node(ids[0]).publish()
    d.engine.die(f"run/{TENANT}/{ids[0]}/1")
    d.tick(2)

    assert (d.job(ids[3])["position"], d.reason(ids[2]), d.reason(ids[3])) == (2, "no_capacity", "behind_others")


def test_a_job_of_a_higher_priority_goes_first(d: Dispatched) -> None:
    d.engine.cpus = 1.0
    low, high = d.submit(train("low") + "---\n" + train("high", "priority: 900\n"))

    d.tick()

    assert (d.state(low), d.state(high)) == ("queued", "starting")


def test_a_job_in_back_off_starts_again_when_its_time_has_come(d: Dispatched) -> None:
    t = d.one(train())
    for _ in range(2):
        d.tick(2)
        d.run_node(t).start()
        d.engine.die(d.row(t).run_key.actor)
        d.tick()
    assert d.reason(t) == "backing_off"

    d.go(10)

    assert d.row(t).run == 3
    assert d.state(t) == "starting"


def test_a_start_that_the_engine_refuses_is_tried_again_and_then_fails_the_job(d: Dispatched) -> None:
    t = d.one(train())
    d.engine.refusal = BadRequest("No such resource.", "Name another.")
    d.tick()
    assert (d.state(t), d.reason(t)) == ("queued", "start_failed")

    d.go(200)

    assert d.state(t) == "failed"
    message = "No such resource. Try 6 of 6 after start_failed was the last."
    assert d.job(t)["error"] == {"code": "start_failed", "message": message, "hint": "Name another."}
    assert [r["cause"] for r in d.job(t)["runs"]] == ["start_failed"] * 6


def test_an_actor_that_cannot_be_made_is_a_start_that_failed(d: Dispatched) -> None:
    t = d.one(train())
    d.engine.stillborn = "ImportError: no module named gan"
    d.go(200)

    assert d.job(t)["error"]["code"] == "start_failed"
    assert "no module named gan" in d.job(t)["error"]["message"]


def test_pool_workers_that_cannot_be_made_fail_their_job_too(d: Dispatched) -> None:
    d.engine.stillborn = "ImportError: no module named noise"
    g = d.one(generate())
    d.go(200)

    assert d.state(g) == "failed"
    assert d.job(g)["error"]["code"] == "start_failed"
    assert "no module named noise" in d.job(g)["error"]["message"]
    assert len(d.engine.started) <= 12


def test_pool_workers_that_the_engine_refuses_fail_their_job_and_no_other(d: Dispatched) -> None:
    g = d.one(generate())
    d.engine.refusal = BadRequest("No such resource.")
    d.go(200)
    assert d.job(g)["error"]["code"] == "start_failed"

    d.engine.refusal = None
    h = d.one(generate("h"))
    d.tick()
    d.workers(h)[0].work()
    d.tick()

    assert d.state(h) == "succeeded"


def test_a_start_whose_answer_was_lost_is_found_and_kept(d: Dispatched) -> None:
    t = d.one(train())
    d.engine.lost_starts = 1
    d.tick()
    assert d.state(t) == "starting"

    d.run_node(t).start()
    d.go(30, beat=d.run_node(t).heartbeat)

    assert (d.state(t), d.row(t).run) == ("running", 1)


def test_a_job_whose_spec_cannot_be_read_any_more_fails_and_holds_nobody_up(d: Dispatched) -> None:
    old = d.one(train("old"))
    with d.w.catalog.write() as tx:
        tx.jobs.touch(d.row(old).id, spec={"kind": "train", "name": "old", "gone": 1})
    new = d.one(train("new"))

    d.tick()

    assert (d.state(old), d.state(new)) == ("failed", "starting")
    assert d.job(old)["error"]["code"] == "user_error"


def test_a_job_whose_outputs_are_lost_fails_and_another_is_finished(d: Dispatched) -> None:
    a, b = d.submit(generate("a") + "---\n" + generate("b"))
    d.tick()
    node = d.workers(a)[0]
    node.work()
    d.w.store.remove(f"{layout.outputs(JobKey(TENANT, a))}/shard-000001.r1.c1")

    d.tick()

    assert (d.state(a), d.state(b)) == ("failed", "succeeded")


def test_files_of_lost_claims_are_swept_some_time_after_the_end(d: Dispatched) -> None:
    g = d.one(generate())
    d.tick()
    (node,) = d.workers(g)
    (lost,) = node.claim()
    node.store(lost)
    d.engine.die(node.name)
    d.tick()
    (node,) = d.workers(g)
    node.work()
    d.tick()
    folder = f"{layout.outputs(JobKey(TENANT, g))}/shard-000000.r1.c1"
    assert d.w.store.list(folder)

    d.go(60)

    assert d.w.store.list(folder) == []
    assert d.state(g) == "succeeded"


WHOLE = "resources: {cpus_per_worker: 4}\n"


def behind_another(d: Dispatched) -> tuple[str, str, str]:
    """Return a job that fills the cluster, and two that stand in the line, the first before the second."""
    ahead, first, second = d.submit("---\n".join(train(name, WHOLE) for name in "abc"))
    d.tick()
    d.run_node(ahead).start()
    return ahead, first, second


def test_a_job_that_was_given_a_higher_priority_starts_before_its_elders(d: Dispatched) -> None:
    ahead, first, second = behind_another(d)

    update.update(d.w, TENANT, second, priority=900)
    d.run_node(ahead).publish()
    d.engine.die(d.row(ahead).run_key.actor)
    d.tick()

    assert (d.state(first), d.state(second)) == ("queued", "starting")


def test_a_new_priority_that_redis_never_heard_of_counts_from_the_next_reconcile(d: Dispatched) -> None:
    ahead, first, second = behind_another(d)
    d.queues.reachable = False

    update.update(d.w, TENANT, second, priority=900)
    d.queues.reachable = True
    d.go(6, d.run_node(ahead).heartbeat)
    d.run_node(ahead).publish()
    d.engine.die(d.row(ahead).run_key.actor)
    d.tick()

    assert (d.state(first), d.state(second)) == ("queued", "starting")


def test_a_command_is_run_by_an_actor_of_its_own_and_drains_like_a_training(d: Dispatched) -> None:
    c = d.one(command(more="resources: {cpus_per_worker: 2}\n"))
    d.tick()
    actor = d.engine.table[f"run/{TENANT}/{c}/1"]
    node = CommandNode(d.w, actor.order)
    node.start()
    d.go(5, beat=node.heartbeat)

    d.dispatcher.drain(1.0, lambda seconds: node.release("shutdown", step=1) if d.state(c) == "running" else None)

    assert (actor.actor, actor.cpus, actor.asked) == (COMMAND_ACTOR, 2.0, ["shutdown"])
    assert (d.state(c), d.reason(c)) == ("queued", "shutdown")
    d.tick()
    again = CommandNode(d.w, d.engine.table[f"run/{TENANT}/{c}/2"].order)
    again.start()
    again.publish_files("result")
    assert (d.state(c), d.job(c)["outputs"]["count"]) == ("succeeded", 1)


def test_a_command_whose_worker_dies_is_run_again(d: Dispatched) -> None:
    c = d.one(command())
    d.tick()
    CommandNode(d.w, d.engine.table[f"run/{TENANT}/{c}/1"].order).start()

    d.engine.die(f"run/{TENANT}/{c}/1", end=End.PROCESS)
    d.tick(2)

    assert [r["cause"] for r in d.job(c)["runs"]] == ["node_lost", None]
    assert f"run/{TENANT}/{c}/2" in d.engine.table


def test_what_is_submitted_while_the_cluster_is_looked_at_does_not_wait_for_the_whole_look(
    d: Dispatched, monkeypatch: pytest.MonkeyPatch
) -> None:
    d.tick()
    d.go(RECONCILE_SECONDS - TICK_SECONDS)  # the lease is kept meanwhile
    d.clock.go(TICK_SECONDS)
    tend, actors = d.engine.tend, d.engine.actors
    submitted: list[str] = []
    seen: list[str] = []

    def tend_and_submit(warm: int | None) -> int:
        submitted.append(d.one(train("meanwhile")))
        return tend(warm)

    def look() -> list[str]:
        seen.append(d.state(submitted[0]))
        return actors()

    monkeypatch.setattr(d.engine, "tend", tend_and_submit)
    monkeypatch.setattr(d.engine, "actors", look)
    d.tick()

    assert seen == ["starting"]
