"""The survey: the line is compared with the record, and made equal to it.

Hints bring jobs into the line within milliseconds; a hint may be lost, late or forged. What the
record has queued is added up there span by span, in one look at an index; a span whose sums are
not the line's is read. One span is read each time whatever its sums say, so that even sums that
are equal by accident hide nothing for long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from genplatform.catalog import SpanSum
from genplatform.dispatch.line import HeldLine
from genplatform.services import reconcile
from genplatform.services.context import Wiring

# Jobs read at a time, and in one round.
PAGE = 4_000
MOST = 12_000


class Survey:
    """What of the line is still to be compared with the record."""

    def __init__(self, w: Wiring, line: HeldLine) -> None:
        self._w = w
        self._line = line
        self._stretches: deque[Stretch] = deque()
        self._turn = 0
        self._whole = True

    def take_over(self) -> None:
        """Let the next survey be done in one round: nothing starts before the line is complete."""
        self._stretches.clear()
        self._whole = True

    def begin(self) -> None:
        """Find out where the line and the record differ."""
        recorded = reconcile.spans(self._w)
        held = self._line.sums()
        spans = sorted(recorded.keys() | held.keys())
        differing = {span for span in spans if recorded.get(span) != held.get(span)}
        if spans:
            differing.add(spans[self._turn % len(spans)])
            self._turn += 1
        self._stretches = deque(_stretches(spans, differing, recorded))
        if not self._stretches:
            self._whole = False

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to read of what differed."""
        return not self._stretches

    def go_on(self) -> bool:
        """Read on, as much as one round may; tells whether nothing is left."""
        read = 0
        while self._stretches and (self._whole or read < MOST):
            stretch = self._stretches[0]
            rows = reconcile.queued_within(self._w, stretch.first, stretch.last)
            self._line.settle(stretch.first, stretch.last, rows)
            self._stretches.popleft()
            read += stretch.jobs
            self._whole = self._whole and bool(self._stretches)
        return self.is_over


@dataclass(frozen=True)
class Stretch:
    """Spans to read in one go, and how many queued jobs the record had in them."""

    first: int
    last: int
    jobs: int


def _stretches(spans: Iterable[int], differing: set[int], recorded: Mapping[int, SpanSum]) -> Iterator[Stretch]:
    """Yield the stretches that hold all spans that differ, and none that agrees."""
    open_: Stretch | None = None
    for span in spans:
        jobs = recorded.get(span, SpanSum()).count
        if open_ is not None and (span not in differing or open_.jobs + jobs > PAGE):
            yield open_
            open_ = None
        if span in differing:
            open_ = Stretch(span if open_ is None else open_.first, span, jobs + (open_.jobs if open_ else 0))
    if open_ is not None:
        yield open_
