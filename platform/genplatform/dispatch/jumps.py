"""Jumps: when the machine's clock was put forward, so that no Run is charged with time that did not pass."""

from __future__ import annotations

from genplatform.domain.times import Clock
from genplatform.services.leadership import CLOCK_SECONDS


class Jumps:
    """Compares the clock with one that nobody sets, at every look.

    A dispatcher knows of those it has seen. When the clock is put back, times seem to have begun
    later than they did: what is limited ends late, which does no harm.
    """

    def __init__(self, clock: Clock, steady: Clock) -> None:
        self._clock = clock
        self._steady = steady
        self._apart = clock() - steady()
        self._forward: list[tuple[float, float]] = []

    def look(self) -> None:
        """Note whether the clock was put forward since the last look; that it is slowed or hurried is no jump."""
        steady = self._steady()
        apart = self._clock() - steady
        if apart - self._apart > CLOCK_SECONDS:
            self._forward.append((steady + self._apart, apart - self._apart))
        self._apart = apart

    def since(self, then: float) -> float:
        """Return how many seconds have passed since the clock showed `then`."""
        return self._clock() - then - sum(by for at, by in self._forward if then <= at)
