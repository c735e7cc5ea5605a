"""Which nodes are avoided, and until when: those on which the work of several jobs keeps failing.

One job that fails everywhere says nothing of a node, and one failure says little; what is lost
together, as when a node dies, counts once. A node is avoided when within ten minutes several
times Runs or claims of more than one job were lost there, and no more were brought to their end.
It is tried again after ten minutes; when it goes on failing it is avoided for twice as long, up
to an hour. When most of the nodes would be avoided it is not the nodes: then none is. All is a
function of the ends that were noted, in the order of their times.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

WINDOW_SECONDS = 600.0
FEWEST_FAILURES = 3
FEWEST_JOBS = 2
# What is lost within a lease of each other was lost together.
TOGETHER_SECONDS = 15.0
FIRST_SECONDS = 600.0
LONGEST_SECONDS = 3600.0
# A node that did well for so long after it was avoided begins anew; ends older than this decide nothing.
MEMORY_SECONDS = 2 * LONGEST_SECONDS


@dataclass(frozen=True, order=True)
class NodeEnd:
    """One Run or claim that ended on a node: lost there, or brought to its end."""

    at: float
    node: str
    job: str
    lost: bool


@dataclass(frozen=True)
class Avoided:
    """One node that is avoided, and why."""

    node: str
    until: float
    failures: int
    jobs: int

    def holds(self, now: float) -> bool:
        """Tell whether it is avoided still; a time too far ahead was written before the clock was put back."""
        return now < self.until <= now + LONGEST_SECONDS


@dataclass
class _Record:
    """What is known of one node."""

    ends: deque[NodeEnd] = field(default_factory=deque)  # of the window
    avoided: Avoided | None = None
    seconds: float = 0.0  # how long it was avoided for the last time

    def note(self, end: NodeEnd) -> None:
        """Take one more end into account, not older than those before it."""
        self.ends.append(end)
        while self.ends[0].at <= end.at - WINDOW_SECONDS:
            self.ends.popleft()
        if self.avoided is not None and end.at < self.avoided.until:
            return  # what was running there when it was avoided
        lost = [e for e in self.ends if e.lost]
        times, jobs = _times(lost), len({e.job for e in lost})
        if times < FEWEST_FAILURES or jobs < FEWEST_JOBS or 2 * len(lost) < len(self.ends):
            return
        again = self.avoided is not None and end.at - self.avoided.until < MEMORY_SECONDS
        self.seconds = min(2 * self.seconds, LONGEST_SECONDS) if again else FIRST_SECONDS
        self.avoided = Avoided(end.node, end.at + self.seconds, times, jobs)
        # It is given the same chance as at first once it is tried again.
        self.ends.clear()


def _times(lost: Iterable[NodeEnd]) -> int:
    """Count how often something was lost; what was lost together counts once."""
    times, since = 0, float("-inf")
    for end in lost:
        if end.at - since > TOGETHER_SECONDS:
            times, since = times + 1, end.at
    return times


class NodeRecords:
    """The ends that were noted, by node."""

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}

    def note(self, ends: Iterable[NodeEnd]) -> None:
        """Take further ends into account."""
        for end in sorted(ends):
            self._records.setdefault(end.node, _Record()).note(end)

    def suspects(self, now: float) -> list[Avoided]:
        """Return the nodes that are to be avoided for what happened on them alone, by name."""
        found = [r.avoided for _, r in sorted(self._records.items()) if r.avoided is not None]
        return [one for one in found if one.holds(now)]

    def forget(self, now: float) -> None:
        """Let go of nodes on which nothing happened for so long that it decides nothing any more."""
        for node, record in list(self._records.items()):
            last = max(record.ends[-1].at if record.ends else 0.0, record.avoided.until if record.avoided else 0.0)
            if now - last > MEMORY_SECONDS:
                del self._records[node]


def avoided(suspects: Iterable[Avoided], nodes: Collection[str]) -> list[Avoided]:
    """Return those of the suspects to avoid in a cluster of these nodes: at most half of them, or none at all."""
    there = [one for one in suspects if one.node in nodes]
    return there if 2 * len(there) <= len(nodes) else []
