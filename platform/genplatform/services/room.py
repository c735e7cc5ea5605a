"""Refuse what no node of the cluster could ever hold: it would wait for good.

The leading dispatcher records the sizes of the nodes. Where none leads, where it has not looked yet or cannot
reach Ray, and where the cluster grows by itself, nobody knows what there is room for, and nothing is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from genplatform.catalog import Transaction
from genplatform.domain.job import NodeSize
from genplatform.errors import BadSpec
from genplatform.scheduling.room import impossible
from genplatform.services.plans import Plan
from genplatform.spec import MAX_PROBLEMS, at_most

HINT = "Ask for less, or add a node; where nodes come by themselves, its operator sets GENCTL_RAY_AUTOSCALES=1."


def refuse_oversized(tx: Transaction, plans: Sequence[Plan], now: float) -> None:
    """Raise BadSpec for the jobs that could not run even if all nodes were idle."""
    leader = tx.leaders.current()
    if leader is None or leader.expires_at <= now:
        return
    nodes = [NodeSize("", cpus, gpus) for cpus, gpus in leader.data.get("nodes", ())]
    if not nodes:
        return
    never = {demand: impossible(demand, nodes) for demand in {one.demand for one in plans}}
    if not any(never.values()):
        return
    problems = []
    for one in plans:
        reason = never[one.demand]
        if reason is not None:
            problems.append(one.problem(f"resources: {reason.message}", "resources", HINT))
            if len(problems) > MAX_PROBLEMS:
                break
    raise BadSpec(at_most(MAX_PROBLEMS, problems))
