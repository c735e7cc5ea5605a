"""Hearing: whether what workers say comes through, and since when without a break.

Silence about progress means something only while it would be heard. Words take two ways: a
report waits in Redis until it is folded, and everything goes through the API. The first is
broken while folding fails; the second while the lease of a worker that answers the engine runs
out, for then its heartbeats do not arrive. A worker keeps its newest word until it is taken, so
that moments after a way is mended all is known again, whoever leads by then.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from genplatform.domain.keys import JobKey
from genplatform.domain.times import LEASE_SECONDS

# After a way is mended a worker tries again within one request's time; an unheard lease is noticed within its length.
SETTLE_SECONDS = 30.0


class Hearing:
    """What is known of the ways; a dispatcher that takes over has heard nothing yet."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._unheard: dict[JobKey, float] = {}

    def take_over(self) -> None:
        """Begin to listen anew."""
        self._since = None

    def folded(self, now: float) -> None:
        """Note that reports could be read just now."""
        self._since = now if self._since is None else self._since

    def deaf(self) -> None:
        """Note that reports could not be read."""
        self._since = None

    def unheard(self, jobs: Iterable[JobKey], now: float) -> None:
        """Note that workers of these jobs live and their heartbeats do not come."""
        self._unheard = {job: at for job, at in self._unheard.items() if now - at < SETTLE_SECONDS + LEASE_SECONDS}
        self._unheard |= dict.fromkeys(jobs, now)

    def hears(self, job: JobKey, now: float) -> bool:
        """Tell whether a word of this job's workers would have come through by now."""
        settled = self._since is not None and now - self._since >= SETTLE_SECONDS
        return settled and now - self._unheard.get(job, -math.inf) >= SETTLE_SECONDS
