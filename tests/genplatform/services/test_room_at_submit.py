"""A submit of what no node could ever hold is refused, where it is known what the nodes hold."""

from __future__ import annotations

from typing import Any

import pytest
from small_platform import TENANT, SmallPlatform, command, generate, train

from genplatform.domain.times import LEADER_LEASE_SECONDS
from genplatform.errors import BadSpec
from genplatform.services import jobs, leadership, submit

TWO_NODES = [[4.0, 0.0], [2.0, 1.0]]


def asking(resources: str) -> str:
    return command(more=f"resources: {{{resources}}}\n")


def lead(p: SmallPlatform, nodes: list[list[float]] | None) -> None:
    """Let a dispatcher lead that told so of the nodes; None for one that told nothing yet."""
    term = p.term()
    if nodes is not None:
        leadership.tell(p.w, term, {"ray": {"ok": True, "detail": ""}, "nodes": nodes})


def submitted(p: SmallPlatform) -> list[dict[str, Any]]:
    return list(jobs.ps(p.w, TENANT, all=True)["jobs"])


def test_what_no_node_could_hold_is_refused_with_what_there_is_and_what_to_do(p: SmallPlatform) -> None:
    lead(p, TWO_NODES)

    with pytest.raises(BadSpec) as refused:
        p.one(asking("cpus_per_worker: 5"))

    (problem,) = refused.value.problems
    assert problem.message == "resources: It needs 5 CPUs on one node; the largest has 4 CPUs."
    assert problem.path == "resources"
    assert problem.line > 0
    assert "GENCTL_RAY_AUTOSCALES=1" in problem.hint
    assert submitted(p) == []


@pytest.mark.parametrize("more", ["cpus_per_worker: 4", "cpus_per_worker: 0.5"])
def test_what_one_of_the_nodes_holds_is_taken(p: SmallPlatform, more: str) -> None:
    lead(p, TWO_NODES)

    assert p.state(p.one(asking(more))) == "queued"


def test_a_job_of_many_workers_is_held_to_all_the_nodes_and_an_elastic_one_to_its_fewest(p: SmallPlatform) -> None:
    lead(p, TWO_NODES)

    elastic = p.one(generate(more="resources: {workers: 1..50}\n"))
    with pytest.raises(BadSpec, match=r"7 CPUs \(7 workers with 1 CPU each\); the cluster has 6 CPUs"):
        p.one(generate(more="resources: {workers: 7}\n"))
    with pytest.raises(BadSpec, match=r"4 workers with 1\.5 CPUs each; the nodes have room for 3 of them"):
        p.one(generate(more="resources: {workers: 4, cpus_per_worker: 1.5}\n"))

    assert p.state(elastic) == "queued"


def test_a_gang_that_the_idle_cluster_could_not_hold_at_once_is_refused(p: SmallPlatform) -> None:
    lead(p, TWO_NODES)

    held = p.one(train("held", "resources: {workers: 3, cpus_per_worker: 2}\n"))
    with pytest.raises(BadSpec, match=r"2 workers with 3 CPUs each; the nodes have room for 1 of them"):
        p.one(train("gang", "resources: {workers: 2, cpus_per_worker: 3}\n"))

    assert p.state(held) == "queued"


def test_one_job_too_large_refuses_the_whole_file_also_in_a_dry_run(p: SmallPlatform) -> None:
    lead(p, TWO_NODES)
    file = command("a") + "---\n" + asking("cpus_per_worker: 64")

    for dry in (False, True):
        with pytest.raises(BadSpec, match="It needs 64 CPUs; the cluster has 6 CPUs"):
            submit.submit(p.w, TENANT, file.encode(), "application/yaml", dry_run=dry)

    assert submitted(p) == []


def test_a_key_whose_jobs_were_taken_is_answered_with_them_after_the_nodes_are_gone(p: SmallPlatform) -> None:
    lead(p, [[8.0, 0.0]])
    (first,) = p.submit(asking("cpus_per_worker: 8"), key="k")
    lead(p, TWO_NODES)

    assert p.submit(asking("cpus_per_worker: 8"), key="k") == [first]


@pytest.mark.parametrize("nodes", [None, []])
def test_nothing_is_refused_while_nobody_knows_what_the_nodes_hold(
    p: SmallPlatform, nodes: list[list[float]] | None
) -> None:
    lead(p, nodes)

    assert p.state(p.one(asking("cpus_per_worker: 64"))) == "queued"


def test_nothing_is_refused_by_what_a_leader_said_that_leads_no_more(p: SmallPlatform) -> None:
    lead(p, TWO_NODES)
    p.clock.go(LEADER_LEASE_SECONDS + 1)

    assert p.state(p.one(asking("cpus_per_worker: 64"))) == "queued"
