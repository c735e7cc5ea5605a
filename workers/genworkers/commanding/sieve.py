"""How many of the lines that a command prints are sent on: all of them, until they are more than anybody reads.

A bucket of lines is there at the start and fills up slowly. While it is empty the newest lines are
held back, and once a second they are let through, with a word of how many before them are left out.
"""

from __future__ import annotations

from collections import deque

from genplatform.domain.log_lines import Stream
from genworkers.transcript import Line

BUCKET = 1_000.0
A_SECOND = 100
EVERY_SECONDS = 1.0
CHARACTERS_A_LINE = 400  # a longer line counts as several


class Sieve:
    """Lets lines through; times are seconds of any clock that only passes."""

    def __init__(self, now: float) -> None:
        self._left = BUCKET
        self._filled_at = self._passed_at = now
        self._held: deque[Line] = deque()
        self._left_out = 0

    def take(self, line: Line, now: float) -> list[Line]:
        """Take a line; return what is let through now."""
        self._fill(now)
        cost = 1 + len(line.text) // CHARACTERS_A_LINE
        if not self._held and self._left >= cost:
            self._left -= cost
            return [line]
        self._held.append(line)
        if len(self._held) > A_SECOND:
            self._held.popleft()
            self._left_out += 1
        return self.due(now)

    def due(self, now: float) -> list[Line]:
        """Return what was held back, if it is time."""
        return self.rest() if self._held and now - self._passed_at >= EVERY_SECONDS else []

    def rest(self) -> list[Line]:
        """Return what was held back, with a word of what is left out before it."""
        held, self._held = self._held, deque()
        self._passed_at = self._filled_at
        self._left = 0.0
        if not self._left_out:
            return list(held)
        lines = "line was" if self._left_out == 1 else "lines were"
        said = f"[{self._left_out:,} {lines} left out here: more than {A_SECOND} a second were printed]"
        self._left_out = 0
        return [Line(said, Stream.LOG, held[0].time), *held]

    def _fill(self, now: float) -> None:
        self._left = min(BUCKET, self._left + (now - self._filled_at) * A_SECOND)
        self._filled_at = now
