"""Pools of workers: as many as their jobs were given and can use, replaced when they die, never counted when gone."""

from __future__ import annotations

from typing import Any

import pytest
from dispatched import Dispatched
from small_platform import TENANT, generate, train

from genplatform.dispatch.pools import PREFIX, ROW_SECONDS, Pools
from genplatform.errors import Unavailable
from genplatform.services import cancel
from genplatform.services.runs import START_SECONDS


def pool_workers(d: Dispatched) -> list[str]:
    return d.engine.names(PREFIX)


def test_a_job_gets_the_workers_that_fit(d: Dispatched) -> None:
    g = d.one(generate(count=64 * 9, more="resources: {workers: 1..8}\n"))

    d.tick(3)

    assert (len(d.workers(g)), d.row(g).workers) == (4, 4)


def test_no_more_workers_than_shards_to_make(d: Dispatched) -> None:
    g = d.one(generate(count=128, more="resources: {workers: 4}\n"))

    d.tick(3)

    assert len(d.workers(g)) == 2


def test_workers_that_left_for_want_of_work_are_not_called_back_for_nothing(d: Dispatched) -> None:
    g = d.one(generate(count=192, more="resources: {workers: 3}\n"))
    d.tick()
    first, second, third = d.workers(g)
    (held,) = first.claim()
    second.work()
    for idle in (second, third):
        d.go(20, beat=lambda: first.heartbeat([held]))
        d.engine.die(idle.name, "It ended: idle.")

    d.go(30, beat=lambda: first.heartbeat([held]))

    assert pool_workers(d) == [first.name]
    first.publish(held)
    d.tick()
    assert d.state(g) == "succeeded"


def test_a_worker_that_died_is_replaced_under_a_new_name(d: Dispatched) -> None:
    g = d.one(generate())
    d.tick()
    (first,) = d.workers(g)
    d.go(20)
    d.engine.die(first.name)

    d.tick()
    d.workers(g)[0].work()
    d.tick()

    assert (d.state(g), d.row(g).run) == ("succeeded", 1)
    assert len(set(d.engine.started)) == len(d.engine.started) == 2


def test_workers_that_die_young_again_and_again_are_replaced_more_and_more_slowly(d: Dispatched) -> None:
    g = d.one(generate(more="resources: {workers: 2}\n"))
    d.tick()
    kept = d.workers(g)[0]
    (held,) = kept.claim()
    for _ in range(240):
        d.clock.go(0.5)
        kept.heartbeat([held])
        d.tick()
        for name in pool_workers(d):
            if name != kept.name:
                d.engine.die(name, "Killed by signal 9.")

    assert 5 < len(d.engine.started) < 40
    assert (d.state(g), d.row(g).run) == ("running", 1)


def test_workers_that_vanished_untold_are_forgotten_and_replaced(d: Dispatched) -> None:
    g = d.one(generate())
    d.tick()
    d.engine.vanish(d.workers(g)[0].name)

    d.go(12)

    assert len(d.workers(g)) == 1
    assert d.workers(g)[0].work() == 3


def test_jobs_of_one_model_share_their_workers(d: Dispatched) -> None:
    a, b = d.submit(generate("a") + "---\n" + generate("b"))
    d.tick()
    assert len(pool_workers(d)) == 2

    d.workers(a)[0].work()
    d.tick()

    assert (d.state(a), d.state(b)) == ("succeeded", "succeeded")


def test_a_warm_worker_is_used_by_the_next_job(d: Dispatched) -> None:
    a = d.one(generate("a"))
    d.tick()
    d.workers(a)[0].work()
    d.tick()
    b = d.one(generate("b"))
    d.tick()

    assert len(d.engine.started) == 1
    assert d.workers(b)[0].work() == 3
    d.tick()
    assert d.state(b) == "succeeded"


def test_jobs_of_one_pool_get_workers_of_the_size_that_each_asked_for(d: Dispatched) -> None:
    d.submit(
        generate("a", more="resources: {cpus_per_worker: 0.5}\n")
        + "---\n"
        + generate("b", more="resources: {cpus_per_worker: 2, workers: 1}\n")
    )

    d.tick()

    assert sorted(one.cpus for one in d.engine.table.values()) == [0.5, 2.0]


def test_no_more_is_promised_than_there_is(d: Dispatched) -> None:
    d.submit("---\n".join(generate(f"g{n}", count=64 * 9, more="resources: {workers: 3}\n") for n in range(3)))
    d.submit(train("t") + "---\n" + train("u"))

    d.tick(5)

    assert sum(one.cpus for one in d.engine.table.values()) == 4.0
    states = [d.state(name) for name in ("g0", "g1", "g2", "t", "u")]
    assert states == ["starting", "queued", "queued", "starting", "queued"]


def test_what_a_pool_still_lacks_is_not_given_to_others(d: Dispatched, monkeypatch: pytest.MonkeyPatch) -> None:
    d.one(generate("a", count=64 * 9))
    d.tick()
    starts = d.engine.start

    def no_pool_workers(name: str, *args: Any, **kw: Any) -> None:
        if name.startswith(PREFIX):
            raise Unavailable("Not now.")
        starts(name, *args, **kw)

    monkeypatch.setattr(d.engine, "start", no_pool_workers)
    # The pool has one worker; the two that this job adds are its own though they are not there yet.
    d.one(generate("b", count=64 * 9, more="resources: {workers: 2}\n"))
    d.tick(2)
    late = d.one(train("late", "resources: {cpus_per_worker: 2}\n"))
    d.tick(2)

    assert (d.state("b"), d.state(late)) == ("starting", "queued")
    monkeypatch.undo()
    d.go(12)
    assert len(pool_workers(d)) == 3


def test_the_place_of_a_worker_that_is_replaced_after_a_pause_is_kept_for_it(d: Dispatched) -> None:
    d.engine.cpus = 1.0
    g = d.one(generate(count=64 * 9))
    d.tick()
    for _ in range(2):
        (node,) = d.workers(g)
        node.claim()
        d.engine.die(node.name)
        d.tick()
    assert pool_workers(d) == []
    t = d.one(train("t"))

    d.tick(2)
    assert (d.state(g), d.state(t)) == ("running", "queued")
    d.go(3)

    assert len(d.workers(g)) == 1


def test_workers_that_nobody_needs_make_room_for_those_who_wait(d: Dispatched) -> None:
    g = d.one(generate(count=64 * 9, more="resources: {workers: 4}\n"))
    d.tick()
    d.workers(g)[0].work()
    d.tick()
    assert (d.state(g), len(pool_workers(d))) == ("succeeded", 4)
    t = d.one(train("t", "resources: {cpus_per_worker: 2}\n"))

    d.tick(3)

    assert d.state(t) == "starting"


def test_a_silent_worker_without_a_claim_is_replaced_while_work_waits(d: Dispatched) -> None:
    g = d.one(generate())
    d.tick()
    (silent,) = d.workers(g)
    d.go(6)
    d.engine.table[silent.name].silent = True

    d.go(20)

    assert d.engine.killed == [silent.name]
    assert d.workers(g)[0].work() == 3


def test_a_worker_that_has_not_answered_yet_is_new_for_a_while_and_then_silent(d: Dispatched) -> None:
    g = d.one(generate())
    d.tick()
    (slow,) = d.workers(g)
    d.engine.table[slow.name].silent = True

    d.go(START_SECONDS - 5)
    before = list(d.engine.killed)
    d.go(20)

    assert before == []
    assert d.engine.killed == [slow.name]


def test_a_cancelled_jobs_workers_are_not_replaced(d: Dispatched) -> None:
    g = d.one(generate())
    d.tick()
    cancel.cancel(d.w, TENANT, g)
    d.engine.die(d.workers(g)[0].name)

    d.go(12)

    assert pool_workers(d) == []


def test_workers_of_different_models_are_apart(d: Dispatched) -> None:
    d.trained("m")
    a, b = d.submit(generate("a") + "---\n" + generate("b", model="m"))
    d.clock.go(6)
    d.tick()

    assert d.row(a).pool != d.row(b).pool
    assert len(d.workers(a)) == len(d.workers(b)) == 1


def test_the_next_job_of_a_model_finds_its_warm_workers(d: Dispatched) -> None:
    line = d.submit(
        "---\n".join(generate(f"g{i}", count=64, more="resources: {cpus_per_worker: 2}\n") for i in range(6))
    )
    for _ in range(20):
        d.tick()
        for job in line:
            for worker in d.workers(job) if d.row(job).pool else []:
                worker.work()

    assert {d.state(job) for job in line} == {"succeeded"}
    assert len(d.engine.started) == 2, "two fit at a time, and nobody was started twice"


def test_idle_workers_make_room_for_what_needs_it_and_no_more(d: Dispatched) -> None:
    g = d.one(generate(count=64 * 4, more="resources: {workers: 4}\n"))
    d.tick(2)
    for worker in d.workers(g):
        worker.work()
    d.tick(2)
    assert (d.state(g), len(pool_workers(d))) == ("succeeded", 4)

    t = d.one(train("needs-room"))
    d.tick(2)

    assert d.state(t) == "starting"
    assert len(pool_workers(d)) == 3


def test_pools_whose_workers_ended_young_long_ago_are_not_held_in_memory(d: Dispatched) -> None:
    pools = Pools(d.w, d.engine, "http://api")

    for number in range(50):
        worker = f"{PREFIX}{TENANT}/p{number}/{int(d.clock.now * 1000)}"
        pools.know([worker])
        assert pools.ended(worker) == f"p{number}"
        d.clock.go(ROW_SECONDS / 2)

    assert len(pools._young) <= 3
