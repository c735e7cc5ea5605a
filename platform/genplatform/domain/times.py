"""Time as the platform keeps it: seconds since the epoch inside, RFC 3339 in UTC outside."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

# Returns seconds since the epoch; `time.time` in the platform, a fake one in tests.
Clock = Callable[[], float]

LEASE_SECONDS = 10.0
HEARTBEAT_SECONDS = 3.0
SWEEP_SECONDS = 2.0
RECONCILE_SECONDS = 5.0
LEADER_LEASE_SECONDS = 5.0


def rfc3339(seconds: float | None) -> str | None:
    """Return `2026-11-22T05:06:27.120Z`, or None for None."""
    if seconds is None:
        return None
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
