"""Small jobs of one model share the workers that are there, and pass nobody who stands before them."""

from __future__ import annotations

import pytest
from dispatched import Dispatched
from small_platform import TENANT, generate, train

from genplatform.services import cancel

CLUSTER = 4  # CPUs of the hand engine
WIDE = "resources: {cpus_per_worker: 2}\n"


def small(d: Dispatched, count: int, prefix: str = "s", more: str = "") -> list[str]:
    return [d.one(generate(f"{prefix}{number}", count=1, more=more)) for number in range(count)]


def states(d: Dispatched, jobs: list[str]) -> set[str]:
    return {d.state(job) for job in jobs}


def test_many_small_jobs_are_made_by_the_workers_of_a_few(d: Dispatched) -> None:
    jobs = small(d, 30)

    d.tick(2)
    workers = d.workers(jobs[0])
    given = [d.row(job).workers for job in jobs]
    made = workers[0].work()
    d.tick()

    assert len(workers) == CLUSTER
    assert given == [1] * CLUSTER + [0] * (30 - CLUSTER)
    assert made == 30
    assert states(d, jobs) == {"succeeded"}
    assert [d.row(job).run for job in jobs] == [1] * 30


def test_who_joins_passes_nobody_who_waits_for_a_place(d: Dispatched) -> None:
    first = small(d, CLUSTER)
    d.tick(2)
    waits = d.one(train("waits"))
    behind = small(d, 5, "behind")

    d.tick(2)

    assert d.state(waits) == "queued"
    assert states(d, behind) == {"queued"}
    assert d.workers(first[0])[0].work() == CLUSTER
    d.tick(2)
    assert d.state(waits) == "starting"


def test_what_could_never_run_here_holds_nobody_up(d: Dispatched) -> None:
    # Submitted while nobody knows yet what the cluster holds: later it would be refused.
    never = d.one(generate("never", more="resources: {cpus_per_worker: 64}\n", count=1))
    first = small(d, CLUSTER)
    d.tick(2)
    behind = small(d, 5, "behind")

    d.tick(2)

    assert d.state(never) == "queued"
    assert states(d, behind) == {"starting"}
    assert states(d, first) == {"starting"}


@pytest.mark.parametrize("text", [generate("own", count=64 * 5), generate("own", 1, more=WIDE)])
def test_a_job_of_many_shards_or_of_larger_workers_waits_for_its_own(d: Dispatched, text: str) -> None:
    first = small(d, CLUSTER)
    d.tick(2)

    own = d.one(text)
    d.tick(2)

    assert d.state(own) == "queued"
    d.workers(first[0])[0].work()
    d.tick(2)
    assert (d.state(own), d.row(own).workers) == ("starting", 1)


def test_who_joined_is_made_also_when_the_workers_it_joined_are_gone(d: Dispatched) -> None:
    jobs = small(d, 12)
    d.tick(2)
    hosts, joined = jobs[:CLUSTER], jobs[CLUSTER:]
    worker = d.workers(jobs[0])[0]
    for order in worker.claim(CLUSTER):
        worker.publish(order)
    d.tick()
    assert states(d, hosts) == {"succeeded"}
    assert states(d, joined) == {"starting"}

    d.clock.go(60)
    for one in d.workers(joined[0]):
        d.engine.die(one.name, "It ended: idle.")
    d.tick(3)
    left = d.workers(joined[0])

    assert len(left) == 1
    left[0].work()
    d.tick()
    assert states(d, jobs) == {"succeeded"}


def test_another_dispatcher_goes_on_with_who_joined(d: Dispatched) -> None:
    jobs = small(d, 12)
    d.tick(2)
    d.clock.go(20)
    other = d.another("d2")
    for _ in range(3):
        other.tick()

    d.workers(jobs[0])[0].work()
    other.tick()

    assert states(d, jobs) == {"succeeded"}


def test_what_an_older_version_submitted_and_this_one_cannot_read_joins_nobody(d: Dispatched) -> None:
    first = small(d, CLUSTER)
    d.tick(2)
    joined, unread, behind = small(d, 3, "behind")
    with d.w.catalog.write() as tx:
        tx.jobs.touch(d.row(unread).id, spec=d.row(unread).spec | {"of_before": True})

    d.tick(2)
    assert [d.state(job) for job in (joined, unread, behind)] == ["starting", "queued", "queued"]

    d.workers(first[0])[0].work()
    d.tick(3)
    assert (d.state(unread), d.state(behind)) == ("failed", "starting")


def test_the_claims_of_many_small_jobs_fill_a_tile_in_the_order_of_the_line(d: Dispatched) -> None:
    small(d, CLUSTER)
    d.tick(2)
    jobs = [*small(d, 5, "later"), *small(d, 2, "sooner", "priority: 900\n")]
    d.tick(2)
    worker = d.workers(jobs[0])[0]
    assert len(worker.claim(CLUSTER)) == CLUSTER

    orders = worker.claim(64, max_items=64)

    assert [order["job_id"] for order in orders] == [*jobs[5:], *jobs[:5]]
    assert {d.row(job).state for job in jobs} == {"running"}
    assert [[e["type"] for e in d.events(job)][-1] for job in jobs] == ["running"] * 7
    assert worker.claim(64, max_items=64) == []


def test_who_joined_can_be_cancelled(d: Dispatched) -> None:
    jobs = small(d, 8)
    d.tick(2)

    cancel.cancel(d.w, TENANT, jobs[-1])
    made = d.workers(jobs[0])[0].work()
    d.tick()

    assert made == 7
    assert d.state(jobs[-1]) == "cancelled"
    assert states(d, jobs[:-1]) == {"succeeded"}
