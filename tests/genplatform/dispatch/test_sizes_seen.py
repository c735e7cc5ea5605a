"""What the leader records of the nodes' sizes, and what becomes of a submit that is larger than all of them."""

from __future__ import annotations

import pytest
from dispatched import Dispatched
from small_platform import API_URL, command

from genplatform.dispatch.dispatcher import Dispatcher
from genplatform.dispatch.sizes_seen import AWAY_SECONDS
from genplatform.errors import BadSpec

VAST = command(more="resources: {cpus_per_worker: 8}\n")


def test_a_submit_is_refused_once_the_leader_has_seen_the_nodes(d: Dispatched) -> None:
    early = d.one(VAST)
    d.tick(2)

    assert d.reason(early) == "needs_cpu"
    with pytest.raises(BadSpec, match="It needs 8 CPUs; the cluster has 4 CPUs"):
        d.one(VAST)


def test_nothing_is_refused_while_ray_cannot_be_reached(d: Dispatched) -> None:
    d.tick()
    d.engine.reachable = False
    d.go(6)

    assert d.state(d.one(VAST)) == "queued"


def test_a_node_that_went_away_counts_for_some_time(d: Dispatched) -> None:
    d.engine.cpus_of.update(small=4.0, large=8.0)
    d.go(6)
    del d.engine.cpus_of["large"]
    d.go(6)

    waiting = d.one(VAST)
    d.go(AWAY_SECONDS)

    assert d.reason(waiting) == "needs_cpu"
    with pytest.raises(BadSpec, match="the cluster has 4 CPUs"):
        d.one(VAST)


def test_a_job_larger_than_every_node_is_not_started_on_the_sum_of_them(d: Dispatched) -> None:
    d.engine.cpus_of.update(one=4.0, other=4.0)
    vast = d.one(VAST)

    d.tick(2)

    assert (d.state(vast), d.reason(vast)) == ("queued", "needs_cpu")
    assert d.job(vast)["reason"]["message"] == "It needs 8 CPUs on one node; the largest has 4 CPUs."


def test_where_nodes_come_by_themselves_what_is_too_large_now_waits_for_them(d: Dispatched) -> None:
    d.dispatcher = Dispatcher(d.w, d.engine, "d1", API_URL, autoscales=True)
    d.tick(2)
    vast = d.one(VAST)
    d.tick()
    assert d.reason(vast) == "needs_cpu"

    d.engine.cpus = 8.0
    d.tick()

    assert d.state(vast) == "starting"
