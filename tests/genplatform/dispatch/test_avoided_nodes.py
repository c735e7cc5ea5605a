"""Nodes that keep failing get no new work for a while, whoever leads; and never all of them."""

from __future__ import annotations

import pytest
from dispatched import Dispatched
from fake_node import PoolNode
from small_platform import generate, train

from genplatform.engine.seam import End
from genplatform.scheduling.avoid import FIRST_SECONDS
from genplatform.services import health

TRY_AGAIN = "retry: {max: 50}\n"


@pytest.fixture(autouse=True)
def two_nodes(d: Dispatched) -> None:
    """New actors come to the roomier node: the bad one, unless it is avoided or full."""
    d.engine.cpus_of = {"bad": 4.0, "good": 2.0}


def two_jobs(d: Dispatched) -> list[str]:
    jobs = d.submit(train("a", TRY_AGAIN) + "---\n" + train("b", TRY_AGAIN))
    d.tick()
    return jobs


def die(d: Dispatched, job_id: str, end: End = End.PROCESS) -> None:
    """Let a job's run begin, die and be followed by another."""
    node = d.run_node(job_id)
    node.start()
    d.engine.die(node.key.actor, "Its process was killed.", end)
    d.go(5)
    d.clock.go(20)
    d.go(6)


def fail_on_bad(d: Dispatched) -> list[str]:
    a, b = two_jobs(d)
    for job_id in (a, b, a):
        assert placed(d, job_id) == ["bad"]
        die(d, job_id)
    return [a, b]


def placed(d: Dispatched, *jobs: str) -> list[str]:
    return [d.engine.table[d.row(job_id).run_key.actor].node for job_id in jobs]


def test_new_work_is_kept_off_a_node_where_several_jobs_fail(d: Dispatched) -> None:
    a, b = fail_on_bad(d)

    later = [d.one(train(f"later{n}")) for n in range(3)]
    d.go(2)

    assert placed(d, a, b, later[0]) == ["good", "bad", "good"]  # b was there before
    assert [d.state(job_id) for job_id in later] == ["starting", "queued", "queued"]
    assert d.reason(later[1]) == "no_capacity"
    assert d.events(a, "starting")[-1]["data"]["avoided"] == ["bad"]


def test_it_is_told_which_node_is_avoided_until_when_and_why(d: Dispatched) -> None:
    fail_on_bad(d)
    d.go(6)

    (ray,) = [part for part in health.status(d.w)["parts"] if part["name"] == "ray"]

    assert "CPUs" in ray["detail"]
    assert "; node bad is avoided until 2027-" in ray["detail"]
    assert "2 jobs lost work there 3 times" in ray["detail"]
    assert ray["state"] == "up"


def test_it_gets_work_again_after_a_while(d: Dispatched) -> None:
    fail_on_bad(d)
    later = [d.one(train(f"later{n}")) for n in range(2)]
    d.go(2)
    assert d.state(later[1]) == "queued"

    d.clock.go(FIRST_SECONDS)
    d.go(8)

    assert placed(d, later[1]) == ["bad"]


def test_another_dispatcher_knows_it_from_the_record(d: Dispatched) -> None:
    fail_on_bad(d)
    d.clock.go(6)
    other = d.another("d2")
    other.tick()

    later = [d.one(train(f"later{n}")) for n in range(2)]
    other.tick()

    assert [d.state(job_id) for job_id in later] == ["starting", "queued"]


def test_one_job_that_fails_everywhere_keeps_nobody_off(d: Dispatched) -> None:
    a, _ = two_jobs(d)
    for _ in range(5):
        die(d, a)

    assert placed(d, a) == ["bad"]


def test_memory_that_runs_out_keeps_nobody_off(d: Dispatched) -> None:
    a, b = two_jobs(d)
    for job_id in (a, b, a, b):
        die(d, job_id, End.MEMORY)

    assert placed(d, a, b) == ["bad", "bad"]


def test_the_claims_that_pools_workers_lost_count_as_well(d: Dispatched) -> None:
    d.engine.cpus_of = {"bad": 2.0, "good": 1.0}
    d.submit(generate("a", more=TRY_AGAIN) + "---\n" + generate("b", more=TRY_AGAIN))
    d.tick()
    names = {order["job_id"] for _ in range(3) for order in _die_with_a_shard(d)}
    assert len(names) == 2
    d.go(6)

    assert d.engine.table[d.engine.started[-1]].node == "good"


def _die_with_a_shard(d: Dispatched) -> list[dict[str, object]]:
    """Let a worker on the bad node claim the last shard that is offered, whose it is, and die with it."""
    d.go(20)
    workers = [PoolNode(d.w, d.engine.table[name].order, name) for name in d.engine.names("pool/")]
    node = next(worker for worker in workers if d.engine.table[worker.name].node == "bad")
    orders = node.claim(9)
    d.engine.die(node.name, "Killed by signal 7.")
    d.tick()
    return orders


def test_the_only_node_is_not_avoided(d: Dispatched) -> None:
    d.engine.cpus_of = {"bad": 4.0}
    a, b = two_jobs(d)
    for job_id in (a, b, a, b):
        die(d, job_id)

    assert placed(d, a, b) == ["bad", "bad"]


def test_an_engine_that_does_not_tell_its_nodes_keeps_what_is_known(d: Dispatched) -> None:
    fail_on_bad(d)
    d.engine.reachable = False
    d.go(10)
    d.engine.reachable = True
    later = [d.one(train(f"later{n}")) for n in range(2)]

    d.tick()

    assert [d.state(job_id) for job_id in later] == ["starting", "queued"]
