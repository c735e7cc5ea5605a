"""The decision on the line as it was first written: down the whole of it, one job after the other.

It says the same as `scheduling.decide` and costs by the length of the line; the tests hold the two equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from genplatform.domain.job import Capacity, Demand, Reason, ReasonCode
from genplatform.domain.keys import JobKey
from genplatform.scheduling import QueuedJob
from genplatform.scheduling.amounts import Amount, least, needed, said, size


def full_decide(jobs: Iterable[QueuedJob], capacity: Capacity) -> dict[int, int | Reason]:
    """Return for each job, by its order, with how many workers it starts, or why it waits; in the order of the line."""
    cluster = Amount.of(capacity.cpus, capacity.gpus)
    free = Amount.of(capacity.free_cpus, capacity.free_gpus).within(cluster)
    line = sorted(jobs, key=lambda job: (-job.priority, job.order, job.key))
    starting, left = _least_for_each(line, free)
    workers = _share_the_rest(starting, left)
    reasons = _reasons(line, workers, cluster, free)
    return {j.order: workers[j.key] if j.key in workers else reasons[j.key] for j in line}


def _least_for_each(line: Sequence[QueuedJob], free: Amount) -> tuple[list[QueuedJob], Amount]:
    """Go down the line; return who starts, and what is left."""
    starting = []
    for job in line:
        need = needed(job.demand)
        if need.fits(free):
            starting.append(job)
            free = free - need
    return starting, free


def _share_the_rest(starting: Sequence[QueuedJob], left: Amount) -> dict[JobKey, int]:
    """Return how many workers each gets: its least, then one more each in turn while there is room."""
    workers = {job.key: least(job.demand) for job in starting}
    growing = [job for job in starting if job.demand.max_workers > workers[job.key]]
    while growing:
        still = []
        for job in growing:
            one = size(job.demand)
            if one.fits(left):
                left = left - one
                workers[job.key] += 1
                if workers[job.key] < job.demand.max_workers:
                    still.append(job)
        growing = still
    return workers


def _reasons(
    line: Sequence[QueuedJob], workers: dict[JobKey, int], cluster: Amount, free: Amount
) -> dict[JobKey, Reason]:
    """Say why each of the others waits, in words that stay true while it does: no counts, no positions."""
    held = [job for job in line if job.key not in workers]
    # A long line has few kinds of demand: what is said of each is worked out once.
    impossible = {demand: _impossible(demand, cluster) for demand in {job.demand for job in held}}
    reasons: dict[JobKey, Reason] = {}
    first = True
    for job in held:
        reason = impossible[job.demand]
        if reason is None:
            reason = _waits(job.demand, first and not needed(job.demand).fits(free))
            first = False
        reasons[job.key] = reason
    return reasons


def _waits(demand: Demand, for_running_work: bool) -> Reason:
    asked = _asked(demand)
    if for_running_work:
        return Reason(ReasonCode.NO_CAPACITY, f"It needs {asked} and is next: it waits for running work to end.")
    return Reason(ReasonCode.BEHIND_OTHERS, f"It needs {asked}; other jobs are ahead of it.")


def _asked(demand: Demand) -> str:
    need = needed(demand)
    gpus = f" and {said(need.gpus, 'GPU')}" if need.gpus else ""
    return said(need.cpus, "CPU") + gpus


def _impossible(demand: Demand, cluster: Amount) -> Reason | None:
    """Return why such a job could not run even on the idle cluster; None when it could."""
    need, one, n = needed(demand), size(demand), least(demand)
    each = f" ({n} workers with {{}} each)" if n > 1 else ""
    if need.gpus > cluster.gpus:
        asked = said(need.gpus, "GPU") + each.format(said(one.gpus, "GPU"))
        return Reason(ReasonCode.NEEDS_GPU, f"It needs {asked}; the cluster has {said(cluster.gpus, 'GPU')}.")
    if need.cpus > cluster.cpus:
        asked = said(need.cpus, "CPU") + each.format(said(one.cpus, "CPU"))
        return Reason(ReasonCode.NEEDS_CPU, f"It needs {asked}; the cluster has {said(cluster.cpus, 'CPU')}.")
    return None
