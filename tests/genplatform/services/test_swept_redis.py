"""What stands in Redis for nothing that is open is taken out, and nothing else: on a real server, and on its twin."""

from __future__ import annotations

from dataclasses import replace

import pytest
from both_queues import LONG, queues, server
from fake_node import TrainNode
from small_platform import TENANT, SmallPlatform, generate, train

from genplatform.domain.keys import ClaimKey, JobKey
from genplatform.queues import Queues
from genplatform.services import cancel, reconcile

__all__ = ["queues", "server"]  # fixtures, found by their names


@pytest.fixture
def here(p: SmallPlatform, queues: Queues) -> SmallPlatform:
    """A platform over queues that a test can look into, whichever they are."""
    p.w = replace(p.w, queues=queues)
    return p


def at_work(p: SmallPlatform, name: str) -> TrainNode:
    node = p.trainer(p.open(p.one(train(name))))
    node.start()
    return node


def test_a_lease_whose_release_was_lost_is_released_though_heartbeats_keep_it(here: SmallPlatform) -> None:
    queues = here.w.queues
    g, worker = here.generating()
    order, other = worker.claim(2)
    node = at_work(here, "t")
    claim = ClaimKey(TENANT, g, 1, order["shard"], 1)
    worker.publish(order)
    here.lose(node.key.job_id)
    queues.grant([claim, node.key], LONG)  # as they stand when what ended them did not reach Redis
    assert worker.heartbeat([order, other]) == node.heartbeat() == []

    reconcile.sweep(here.w)

    assert queues.leases() == {ClaimKey(TENANT, g, 1, other["shard"], 1)}
    assert [stop["reason"] for stop in node.heartbeat()] == ["lost"]
    assert [(stop["shard"], stop["reason"]) for stop in worker.heartbeat([order, other])] == [(order["shard"], "lost")]


def test_no_lease_and_no_flag_of_work_that_is_open_is_touched(here: SmallPlatform) -> None:
    queues = here.w.queues
    starting = here.open(here.one(train("s"))).key
    running, cancelled = at_work(here, "r").key, at_work(here, "c").key
    cancel.cancel(here.w, TENANT, cancelled.job_id)
    _, worker = here.generating(generate("g", count=64 * 3))
    worker.claim(3)
    leases = queues.leases()

    reconcile.sweep(here.w)

    assert len(leases) == 6
    assert {starting, running, cancelled} < leases == queues.leases()
    assert queues.stops([cancelled.job]) == {cancelled.job: "cancel"}


def test_a_lease_that_is_granted_while_the_sweep_reads_the_record_is_not_released(
    here: SmallPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = at_work(here, "t").key
    here.lose(gone.job_id)
    here.w.queues.grant([gone], LONG)
    read, opened = reconcile.open_jobs, []

    def open_jobs(w):
        found = read(w)
        opened.append(at_work(here, "u").key)
        return found

    monkeypatch.setattr(reconcile, "open_jobs", open_jobs)
    reconcile.sweep(here.w)

    assert here.w.queues.leases() == set(opened)


def test_a_stop_flag_of_a_job_that_ended_meanwhile_is_taken_away(here: SmallPlatform) -> None:
    node = at_work(here, "t")
    node.publish()
    over = JobKey(TENANT, node.key.job_id)
    here.w.queues.flag_stop(over, "cancel")  # as it stands when its cancel came to Redis behind its end

    reconcile.sweep(here.w)

    assert here.w.queues.flagged() == set()


def test_without_redis_nothing_is_swept_and_nothing_breaks(p: SmallPlatform) -> None:
    node = at_work(p, "t")
    p.queues.reachable = False

    reconcile.sweep(p.w)

    p.queues.reachable = True
    assert p.queues.leases() == {node.key}
