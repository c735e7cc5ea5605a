"""Whether a job could run on the idle cluster, and what to say when it could not."""

from __future__ import annotations

from collections.abc import Sequence

from genplatform.domain.job import Demand, NodeSize, Reason, ReasonCode
from genplatform.scheduling.amounts import Amount, least, needed, said, size


def impossible(demand: Demand, nodes: Sequence[NodeSize]) -> Reason | None:
    """Return why such a job could not run even where all of these nodes are idle; None when it could."""
    sizes = [Amount.of(node.cpus, node.gpus) for node in nodes]
    need, one, n = needed(demand), size(demand), least(demand)
    cpus, gpus = sum(has.cpus for has in sizes), sum(has.gpus for has in sizes)
    each = f" ({n} workers with {{}} each)" if n > 1 else ""
    if need.gpus > gpus:
        asked = said(need.gpus, "GPU") + each.format(said(one.gpus, "GPU"))
        return Reason(ReasonCode.NEEDS_GPU, f"It needs {asked}; the cluster has {said(gpus, 'GPU')}.")
    if need.cpus > cpus:
        asked = said(need.cpus, "CPU") + each.format(said(one.cpus, "CPU"))
        return Reason(ReasonCode.NEEDS_CPU, f"It needs {asked}; the cluster has {said(cpus, 'CPU')}.")
    room = held(demand, nodes)
    if room >= n:
        return None
    code = ReasonCode.NEEDS_GPU if one.gpus else ReasonCode.NEEDS_CPU
    worker = amounts(one)
    if room:
        return Reason(code, f"It needs {n} workers with {worker} each; the nodes have room for {room} of them.")
    largest = max(sizes, key=lambda has: (has.gpus, has.cpus) if one.gpus else (has.cpus, has.gpus))
    return Reason(code, f"It needs {worker} on one node; the largest has {amounts(largest)}.")


def held(demand: Demand, nodes: Sequence[NodeSize]) -> int:
    """Return how many of its workers these nodes hold where all of them are idle."""
    one = size(demand)
    return sum(_held(one, Amount.of(node.cpus, node.gpus)) for node in nodes)


def amounts(amount: Amount) -> str:
    """Return `4 CPUs`, or `4 CPUs and 1 GPU`."""
    gpus = f" and {said(amount.gpus, 'GPU')}" if amount.gpus else ""
    return said(amount.cpus, "CPU") + gpus


def _held(one: Amount, has: Amount) -> int:
    """Return how many such workers a node holds; any number of those that take nothing."""
    limits = [room // taken for room, taken in ((has.cpus, one.cpus), (has.gpus, one.gpus)) if taken]
    return min(limits, default=MANY)


MANY = 1_000_000
