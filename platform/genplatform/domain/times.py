"""Time as the platform keeps it: seconds since the epoch inside, RFC 3339 in UTC outside."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

# Returns seconds since the epoch; `time.time` in the platform, a fake one in tests.
Clock = Callable[[], float]

LEASE_SECONDS = 10.0
HEARTBEAT_SECONDS = 3.0
SWEEP_SECONDS = 2.0
RECONCILE_SECONDS = 5.0
LEADER_LEASE_SECONDS = 5.0

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_SPAN = re.compile(r"(\d{1,9})([smhd])\Z", re.ASCII)
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)\Z", re.ASCII)


def rfc3339(seconds: float | None) -> str | None:
    """Return `2026-11-22T05:06:27.120Z`, or None for None."""
    if seconds is None:
        return None
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def span(text: str) -> float | None:
    """Return the seconds that `45s`, `90m`, `12h` or `30d` stands for, or None for another text."""
    found = _SPAN.match(text)
    return float(found[1]) * _UNITS[found[2]] if found else None


def moment(text: str) -> float:
    """Return the time that an RFC 3339 text stands for; raises ValueError, also for one without its zone."""
    if not _RFC3339.match(text):
        raise ValueError(f"{text!r} is no time with its zone")
    return datetime.fromisoformat(text.upper()).timestamp()
