"""The line as the dispatcher holds it: an index over the catalog's queued jobs, and never of record.

Every job has its reason for waiting noted in the catalog. What is noted is not held again for each
of them: only who may not have been told what is true of him now. So a round writes what changed,
and no more of it than it is allowed to.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import chain

from genplatform.catalog import SPAN, QueuedRow, SpanSum
from genplatform.dispatch.sizes import demand_in
from genplatform.domain.job import Demand, Reason
from genplatform.domain.keys import JobKey
from genplatform.scheduling import Decision, Line, QueuedJob

# For each one who is told something, so many are looked at who were told it already.
LOOKED_AT = 10


class HeldLine:
    """The queued jobs, what they add up to span by span, and who is to be told why he waits."""

    def __init__(self) -> None:
        self.line = Line()
        self._sums: dict[int, SpanSum] = {}
        # What all who ask this were told, but for those below, who have what they were told last beside them.
        self._said: dict[Demand, Reason] = {}
        self._unsaid: dict[int, Reason | None] = {}
        self._urgent: dict[int, Reason | None] = {}
        # The one who has a reason of his own, and that reason.
        self._first: tuple[int, Reason] | None = None

    def __len__(self) -> int:
        return len(self.line)

    def add(self, rows: Iterable[QueuedRow]) -> None:
        """Take jobs into the line as they are now."""
        for row in rows:
            if row.id in self.line:
                if self.line[row.id].priority == row.priority:
                    continue
                self.remove(row.id)
            demand = demand_in(row.resources)
            key = JobKey(sys.intern(row.tenant_id), row.job_id)
            self.line.add(QueuedJob(key, row.id, row.priority, demand))
            self._count(row.id, row.priority, 1)
            if row.reason is None or row.reason != self._said.get(demand):
                self._unsaid[row.id] = row.reason

    def remove(self, order: int) -> None:
        """Take a job out of the line."""
        job = self.line.remove(order)
        if job is None:
            return
        self._count(order, job.priority, -1)
        self._unsaid.pop(order, None)
        self._urgent.pop(order, None)
        if self._first is not None and self._first[0] == order:
            self._first = None

    def _count(self, order: int, priority: int, times: int) -> None:
        span, place = divmod(order, SPAN)
        self._sums[span] = self._sums.get(span, SpanSum()).plus(place, priority, times)
        if not self._sums[span].count:
            del self._sums[span]

    def sums(self) -> Mapping[int, SpanSum]:
        """Return what the jobs of each span add up to."""
        return self._sums

    def settle(self, first: int, last: int, rows: Iterable[QueuedRow]) -> None:
        """Hold exactly these jobs of the spans from `first` to `last`."""
        there = {row.id: row for row in rows}
        for span in [span for span in range(first, last + 1) if span in self._sums]:
            for order in range(span * SPAN, (span + 1) * SPAN):
                if order in self.line and order not in there:
                    self.remove(order)
        self.add(there.values())

    def to_say(self, decision: Decision, most: int) -> dict[Reason, list[int]]:
        """Return who is to be told which reason now, at most so many: those for whom it is another than before."""
        self._note_changes(decision)
        told: dict[Reason, list[int]] = defaultdict(list)
        known = []
        number = 0
        waiting = chain(self._urgent.items(), self._unsaid.items())
        for (order, before), _ in zip(waiting, range(most * LOOKED_AT), strict=False):
            reason = self._reason(order, decision)
            if reason == before:
                known.append(order)
                continue
            told[reason].append(order)
            number += 1
            if number == most:
                break
        self.said(known)
        return told

    def said(self, orders: Iterable[int]) -> None:
        """Note that these were told."""
        for order in orders:
            self._unsaid.pop(order, None)
            self._urgent.pop(order, None)

    def _reason(self, order: int, decision: Decision) -> Reason:
        if self._first is not None and self._first[0] == order:
            return self._first[1]
        return decision.reasons[self.line[order].demand]

    def _note_changes(self, decision: Decision) -> None:
        """Note who is to be told anew: those who ask what has another reason now, and who is or was the first."""
        first = (decision.first.order, decision.first_reason) if decision.first and decision.first_reason else None
        if first is not None and first[0] not in self.line:
            first = None
        if first != self._first:
            # Whoever looks at the head of the line should soon read what is true.
            if self._first is not None:
                order, said = self._first
                self._urgent.setdefault(order, self._unsaid.pop(order, said))
            if first is not None:
                order = first[0]
                told = self._said.get(self.line[order].demand)
                self._urgent.setdefault(order, self._unsaid.pop(order, told))
            self._first = first
        for demand, reason in decision.reasons.items():
            before = self._said.get(demand, reason)
            file = self.line.file(demand)
            if before != reason and file is not None:
                for _, order in file:
                    if order not in self._urgent and (first is None or order != first[0]):
                        self._unsaid.setdefault(order, before)
        self._said = dict(decision.reasons)
