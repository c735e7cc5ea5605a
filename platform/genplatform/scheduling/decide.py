"""Who starts now, with how many workers, and why the others wait.

The line is ordered by priority, highest first, then by submission. Going down the line,
each job whose least number of workers fits in what is still free starts with it. A job that
does not fit now is passed by later ones that do; a job that the whole cluster could not hold
blocks nobody. Only what is left after everyone's least is given out as extra workers, one
each in turn, so that no job's extras cost another its start.

What is free only shrinks on the way down, so of those who ask the same, all behind one that does
not fit are passed with it: a decision costs by who starts and by how many kinds of demand there
are, however long the line is.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from genplatform.domain.job import Capacity, Demand, NodeSize, Reason, ReasonCode
from genplatform.domain.keys import JobKey
from genplatform.scheduling.amounts import Amount, least, needed, size
from genplatform.scheduling.line import Line, QueuedJob
from genplatform.scheduling.room import amounts, held, impossible


@dataclass(frozen=True)
class Start:
    """Start this job now, with so many workers."""

    job: QueuedJob
    workers: int

    @property
    def key(self) -> JobKey:
        """The job's key."""
        return self.job.key


@dataclass(frozen=True)
class Decision:
    """What is to be done with the line: who starts, in order, and why everybody else stays in it.

    `reasons` says it by what is asked. For one job it may be another reason than for those who ask
    the same: for the first that waits for running work to end. It is `first`.
    """

    starts: Sequence[Start]
    reasons: Mapping[Demand, Reason]
    first: QueuedJob | None = None
    first_reason: Reason | None = None


def decide(line: Line, capacity: Capacity) -> Decision:
    """Decide on the whole line. Equal lines get equal decisions."""
    cluster = Amount.of(capacity.cpus, capacity.gpus)
    free = Amount.of(capacity.free_cpus, capacity.free_gpus).within(cluster)
    nodes = capacity.nodes or (NodeSize("", capacity.cpus, capacity.gpus),)
    never = {file.demand: impossible(file.demand, nodes) for file in line.files()}
    starting, left = _least_for_each(line, never, free)
    workers = _share_the_rest(starting, left, nodes)
    starts = [Start(job, workers[job.order]) for job in starting]
    return Decision(starts, *_reasons(line, workers, never, free))


def _least_for_each(line: Line, never: Mapping[Demand, Reason | None], free: Amount) -> tuple[list[QueuedJob], Amount]:
    """Go down the line; return who starts, and what is left."""
    needs = {file.demand: needed(file.demand) for file in line.files() if never[file.demand] is None}
    files = [iter(file) for file in line.files() if file.demand in needs and needs[file.demand].fits(free)]
    heads = [(place, n) for n, file in enumerate(files) if (place := next(file, None)) is not None]
    heapq.heapify(heads)
    starting = []
    while heads:
        (_, order), n = heads[0]
        job = line[order]
        following = None
        if needs[job.demand].fits(free):
            starting.append(job)
            free = free - needs[job.demand]
            following = next(files[n], None)
        if following is None:
            heapq.heappop(heads)
        else:
            heapq.heapreplace(heads, (following, n))
    return starting, free


def _share_the_rest(starting: Sequence[QueuedJob], left: Amount, nodes: Sequence[NodeSize]) -> dict[int, int]:
    """Return how many workers each gets: its least, then one more each in turn while there is room.

    No more than the nodes could hold: what two of them have to spare holds no worker that needs more than either.
    """
    workers = {job.order: least(job.demand) for job in starting}
    most = {job.demand: min(job.demand.max_workers, held(job.demand, nodes)) for job in starting}
    growing = [job for job in starting if most[job.demand] > workers[job.order]]
    while growing:
        still = []
        for job in growing:
            one = size(job.demand)
            if one.fits(left):
                left = left - one
                workers[job.order] += 1
                if workers[job.order] < most[job.demand]:
                    still.append(job)
        growing = still
    return workers


def _reasons(
    line: Line, starting: Mapping[int, int], never: Mapping[Demand, Reason | None], free: Amount
) -> tuple[dict[Demand, Reason], QueuedJob | None, Reason | None]:
    """Say why each of the others waits, in words that stay true while it does: no counts, no positions."""
    reasons: dict[Demand, Reason] = {}
    held = []
    for file in line.files():
        reasons[file.demand] = never[file.demand] or _behind_others(file.demand)
        place = next((place for place in file if place[1] not in starting), None)
        if place is not None and never[file.demand] is None:
            held.append(place)
    if not held:
        return reasons, None, None
    first = line[min(held)[1]]
    if needed(first.demand).fits(free):
        return reasons, None, None  # it is behind those that start
    return reasons, first, _next_for_running_work(first.demand)


def _next_for_running_work(demand: Demand) -> Reason:
    message = f"It needs {amounts(needed(demand))} and is next: it waits for running work to end."
    return Reason(ReasonCode.NO_CAPACITY, message)


def _behind_others(demand: Demand) -> Reason:
    return Reason(ReasonCode.BEHIND_OTHERS, f"It needs {amounts(needed(demand))}; other jobs are ahead of it.")
