"""The line: every queued job in its order, sorted by what each asks, so that most of it is never looked at.

Those who ask the same stand in one file, in the order of the line: while the first of a file cannot
start, nobody behind it can. A decision looks at the heads of the files, and at those who start.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from genplatform.domain.job import Demand
from genplatform.domain.keys import JobKey

Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """One queued Job, in the few words that order it. `order` counts submissions: lower came earlier."""

    key: JobKey
    order: int
    priority: int
    demand: Demand

    @property
    def place(self) -> Place:
        """Where it stands: higher priorities first, then earlier submissions."""
        return (-self.priority, self.order)


class File:
    """Those in the line who ask the same. Costs by what is looked at, whatever stands behind it."""

    def __init__(self, demand: Demand) -> None:
        self.demand = demand
        self._heap: list[Place] = []
        self._gone: set[Place] = set()  # those who left and are in the heap still

    def __len__(self) -> int:
        return len(self._heap) - len(self._gone)

    def add(self, place: Place) -> None:
        """Take a place; one who left it and comes back finds it there."""
        if place in self._gone:
            self._gone.remove(place)
        else:
            heapq.heappush(self._heap, place)

    def remove(self, place: Place) -> None:
        """Leave a place."""
        self._gone.add(place)
        while self._heap and self._heap[0] in self._gone:
            self._gone.remove(heapq.heappop(self._heap))
        if len(self._gone) > len(self._heap) // 2:
            self._heap = [p for p in self._heap if p not in self._gone]
            heapq.heapify(self._heap)
            self._gone.clear()

    def __iter__(self) -> Iterator[Place]:
        """Go down the file. It must not change meanwhile."""
        nearest = [(self._heap[0], 0)] if self._heap else []
        while nearest:
            place, at = heapq.heappop(nearest)
            if place not in self._gone:
                yield place
            for below in (2 * at + 1, 2 * at + 2):
                if below < len(self._heap):
                    heapq.heappush(nearest, (self._heap[below], below))


class Line:
    """The queued jobs. No two have one `order`."""

    def __init__(self) -> None:
        self._jobs: dict[int, QueuedJob] = {}
        self._files: dict[Demand, File] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, order: int) -> bool:
        return order in self._jobs

    def __getitem__(self, order: int) -> QueuedJob:
        return self._jobs[order]

    def add(self, job: QueuedJob) -> None:
        """Take a job into the line. It must not be in it."""
        file = self._files.get(job.demand)
        if file is None:
            file = self._files[job.demand] = File(job.demand)
        # One demand for all of a file: a long line has few.
        self._jobs[job.order] = QueuedJob(job.key, job.order, job.priority, file.demand)
        file.add(job.place)

    def remove(self, order: int) -> QueuedJob | None:
        """Take a job out of the line and return it; None when it was not there."""
        job = self._jobs.pop(order, None)
        if job is None:
            return None
        file = self._files[job.demand]
        file.remove(job.place)
        if not len(file):
            del self._files[job.demand]
        return job

    def front(self, most: int) -> list[int]:
        """Return the first in the line, at most so many, by their `order`. It must not change meanwhile."""
        return [order for _, order in islice(heapq.merge(*self._files.values()), most)]

    def files(self) -> list[File]:
        """Return the files, in no order."""
        return list(self._files.values())

    def file(self, demand: Demand) -> File | None:
        """Return those who ask this."""
        return self._files.get(demand)
