"""Losses: only knowledge of an end closes a Run, and what is known is acted on within the lease."""

from __future__ import annotations

import pytest
from dispatched import Dispatched
from small_platform import TENANT, generate, train

from genplatform.dispatch import losses
from genplatform.engine.seam import End
from genplatform.errors import Unavailable
from genplatform.services import cancel


def running(d: Dispatched, text: str = "") -> str:
    t = d.one(text or train())
    d.tick()
    d.run_node(t).start()
    return t


def test_a_run_whose_actor_died_is_tried_again_at_once(d: Dispatched) -> None:
    t = running(d)
    first = d.run_node(t)
    d.engine.die(first.key.actor, "Killed by signal 9.")

    d.tick(2)

    job = d.job(t)
    assert (job["state"], [r["number"] for r in job["runs"]]) == ("starting", [1, 2])
    assert (job["runs"][0]["state"], job["runs"][0]["cause"]) == ("lost", "node_lost")
    assert "Killed by signal 9." in job["runs"][0]["message"]
    second = d.run_node(t)
    second.start()
    assert second.publish() == "t@1"


def test_a_silent_actor_is_ended_once_its_lease_is_over(d: Dispatched) -> None:
    t = running(d)
    actor = d.run_node(t).key.actor
    d.engine.table[actor].silent = True

    d.go(9)
    assert d.state(t) == "running"
    d.go(4)

    assert d.engine.killed == [actor]
    assert "fell silent" in d.job(t)["runs"][0]["message"]
    assert d.row(t).run == 2


def test_an_actor_that_answers_is_kept_though_its_heartbeats_do_not_come(d: Dispatched) -> None:
    t = running(d)

    d.go(60)

    assert (d.state(t), d.row(t).run, d.engine.killed) == ("running", 1, [])


def test_an_actor_that_starts_slowly_has_time_and_one_that_never_does_is_given_up(d: Dispatched) -> None:
    slow, never = d.submit(train("slow") + "---\n" + train("never"))
    d.tick()
    d.engine.table[d.row(never).run_key.actor].silent = True

    d.go(55)
    assert d.state(never) == "starting"
    d.go(10)

    assert (d.state(slow), d.row(slow).run) == ("starting", 1)
    assert (d.row(never).run, d.job(never)["runs"][0]["cause"]) == (2, "start_failed")


def test_an_engine_that_cannot_be_asked_changes_no_state(d: Dispatched) -> None:
    t = running(d)
    g = d.one(generate())
    d.tick()
    d.workers(g)[0].claim()
    queued = d.one(train("q"))
    d.engine.reachable = False

    d.go(120)

    assert [d.state(j) for j in (t, g, queued)] == ["running", "running", "queued"]
    assert (d.row(t).run, d.row(g).run) == (1, 1)
    assert d.shards(g)[0].state == "claimed"
    d.engine.reachable = True
    d.go(6)
    assert (d.row(t).run, d.state(queued)) == (1, "starting")


def test_a_run_without_an_actor_is_closed_when_it_is_missing_twice(d: Dispatched) -> None:
    t = running(d)
    d.engine.vanish(d.run_node(t).key.actor)

    d.go(5.5)
    assert d.row(t).run == 1
    d.go(5)

    assert d.row(t).run == 2
    assert d.job(t)["runs"][0]["message"] == "Run 1 has no worker."


def test_deaths_that_could_not_be_recorded_are_recorded_later(d: Dispatched, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = d.submit(train("a") + "---\n" + train("b"))
    d.tick()
    for job_id in (a, b):
        node = d.run_node(job_id)
        node.start()
        d.engine.die(node.key.actor, "Killed by signal 9.")
    closing = losses.close_run

    def away(*_: object, **__: object) -> None:
        monkeypatch.setattr(losses, "close_run", closing)
        raise Unavailable("The catalog is locked.")

    monkeypatch.setattr(losses, "close_run", away)

    d.tick(3)

    assert (d.row(a).run, d.row(b).run) == (2, 2)
    assert "Killed by signal 9." in d.job(a)["runs"][0]["message"]


def test_stray_actors_are_ended_and_needed_ones_are_not(d: Dispatched) -> None:
    t = running(d)
    strays = [f"run/{TENANT}/j_2222222222/1", f"run/{TENANT}/{t}/7", "run/torn"]
    for name in strays:
        d.engine.start(name, "x", {}, cpus=0, gpus=0)
    d.engine.start("somebody-elses", "x", {}, cpus=0, gpus=0)

    d.go(6)

    assert sorted(d.engine.killed) == sorted(strays)
    assert (d.state(t), d.row(t).run) == ("running", 1)


def test_an_actor_of_a_run_opened_after_the_look_at_the_record_is_not_ended(d: Dispatched) -> None:
    d.tick()
    t = d.one(train())
    listing = d.engine.actors

    def meanwhile() -> list[str]:
        # Another dispatcher has taken over between this one's look at the record and its look at the actors.
        d.engine.actors = listing  # type: ignore[method-assign]
        d.clock.go(60)
        d.another("d2").tick()
        return listing()

    d.engine.actors = meanwhile  # type: ignore[method-assign]
    d.clock.go(6)
    d.tick()

    assert d.engine.names() == [f"run/{TENANT}/{t}/1"]
    assert d.engine.killed == []


def test_a_dead_workers_shard_is_made_by_another(d: Dispatched) -> None:
    g = d.one(generate(more="resources: {workers: 2}\n"))
    d.tick()
    first, second = d.workers(g)
    first.claim()
    (held,) = second.claim()
    d.engine.die(first.name)

    d.tick()

    assert [(s.state, s.claim) for s in d.shards(g)][:2] == [("pending", 1), ("claimed", 1)]
    assert second.publish(held)
    assert second.work() == 2
    d.tick()
    assert d.state(g) == "succeeded"
    assert d.job(g)["runs"][0]["number"] == 1


def test_a_silent_workers_shard_is_made_by_another_and_the_worker_ended(d: Dispatched) -> None:
    g = d.one(generate(more="resources: {workers: 2}\n"))
    d.tick()
    silent, lively = d.workers(g)
    (order,) = silent.claim()
    (held,) = lively.claim()
    d.engine.table[silent.name].silent = True

    d.go(14, beat=lambda: lively.heartbeat([held]))

    assert d.engine.killed == [silent.name]
    assert not silent.publish(order)
    assert lively.publish(held)
    lively.work()
    d.tick()
    assert d.state(g) == "succeeded"


def test_a_worker_that_answers_keeps_its_claim_though_its_heartbeats_do_not_come(d: Dispatched) -> None:
    g = d.one(generate())
    d.tick()
    (node,) = d.workers(g)
    (order,) = node.claim()

    d.go(40)

    assert node.publish(order)
    assert d.engine.killed == []


def test_a_claim_whose_answer_was_lost_is_offered_again(d: Dispatched) -> None:
    g = d.one(generate())
    d.tick()
    (node,) = d.workers(g)
    node.claim()  # the worker never hears of it

    d.go(90)

    assert [o["shard"] for o in node.claim(9)] == [0, 1, 2]
    assert d.engine.killed == []


def test_a_shard_that_ends_its_workers_fails_its_job(d: Dispatched) -> None:
    g = d.one(generate())
    for _ in range(4):
        d.go(20)
        (node,) = d.workers(g)
        (order,) = node.claim()
        assert order["shard"] == 0
        d.engine.die(node.name, "Killed by signal 11.")
        d.tick()

    assert d.state(g) == "failed"
    assert d.job(g)["error"]["code"] == "poisoned"


@pytest.mark.parametrize(
    ("end", "cause", "state"),
    [
        (End.MEMORY, "out_of_memory", "failed"),
        (End.PREEMPTED, "preempted", "preempted"),
        (End.NODE, "node_lost", "lost"),
    ],
)
@pytest.mark.parametrize("started", [True, False], ids=["running", "starting"])
def test_how_an_actor_ended_is_why_its_run_did(d: Dispatched, end: End, cause: str, state: str, started: bool) -> None:
    t = d.one(train())
    d.tick()
    node = d.run_node(t)
    if started:
        node.start()
    d.engine.die(node.key.actor, "Its node ran low on memory: 22GB of 23GB were used.", end)

    d.tick()

    run = d.job(t)["runs"][0]
    assert (run["cause"], run["state"]) == (cause, state)
    assert "22GB of 23GB" in run["message"]
    assert d.events(t, "run_ended")[0]["data"]["worker_died"] is False


def test_memory_that_runs_out_again_and_again_says_what_to_do(d: Dispatched) -> None:
    t = running(d, train(more="retry: {budgets: {out_of_memory: 0}}\n"))
    d.engine.die(d.run_node(t).key.actor, "Its node ran low on memory.", End.MEMORY)

    d.tick()

    error = d.job(t)["error"]
    assert error["code"] == "out_of_memory"
    assert "a larger machine" in error["hint"]


def test_a_worker_that_its_job_ends_young_says_nothing_against_its_pool(d: Dispatched) -> None:
    d.engine.cpus = 1.0
    poison = d.one(generate("poison", more="retry: {max: 9}\n"))
    d.tick()
    (node,) = d.workers(poison)
    d.engine.cpus = 2.0
    innocent = d.one(generate("innocent"))
    d.tick()
    (order,) = node.claim()
    assert (order["job_id"], d.state(innocent)) == (poison, "starting")
    d.engine.die(node.name, "Killed by signal 11.")

    d.tick()

    assert (d.state(innocent), d.row(innocent).run) == ("starting", 1)
    assert d.shards(poison)[0].failures == 1


def test_a_worker_that_said_how_it_ended_says_nothing_against_its_pool(d: Dispatched) -> None:
    g = d.one(generate())
    d.tick()
    (node,) = d.workers(g)
    d.engine.die(node.name, "It ended: unreachable.", End.OVER)

    d.go(1)

    assert (d.state(g), d.row(g).run) == ("starting", 1)
    assert len(d.workers(g)) == 1


def test_after_a_wipe_of_redis_running_work_goes_on_and_the_rest_comes_back(d: Dispatched) -> None:
    t = running(d)
    g = d.one(generate())
    d.tick()
    (node,) = d.workers(g)
    (order,) = node.claim()
    d.engine.cpus = 2.0
    queued = d.one(train("q"))
    trainer = d.run_node(t)

    d.queues.wipe()
    d.go(20, beat=lambda: (trainer.heartbeat(), node.heartbeat([order])))

    assert (d.state(t), d.row(t).run) == ("running", 1)
    assert node.publish(order)
    assert node.work() == 2
    d.engine.cpus = 4.0
    d.go(1)
    assert (d.state(g), d.state(queued)) == ("succeeded", "starting")
    assert trainer.publish() == "t@1"


def test_after_a_wipe_of_redis_a_dead_run_is_still_found(d: Dispatched) -> None:
    t = running(d)
    d.engine.table[d.run_node(t).key.actor].silent = True
    d.queues.wipe()

    d.go(20)

    assert d.row(t).run == 2


def test_a_zombies_lease_in_redis_is_forgotten(d: Dispatched) -> None:
    t = running(d)
    zombie = d.run_node(t)
    d.engine.die(zombie.key.actor)
    d.tick()
    d.queues.grant([zombie.key], 10)

    d.go(15)

    assert d.queues.missing([zombie.key]) == [zombie.key]


def test_a_cancelled_runs_death_ends_the_job(d: Dispatched) -> None:
    t = running(d)
    cancel.cancel(d.w, TENANT, t)
    d.engine.die(d.run_node(t).key.actor)

    d.tick()

    assert d.state(t) == "cancelled"
