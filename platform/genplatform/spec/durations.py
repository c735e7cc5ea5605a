"""Durations and deadlines as a job file says them: `90`, `90s`, `15m`, `2h`, `1d`, or a moment in time."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import PlainValidator, WithJsonSchema

from genplatform.domain.times import moment, rfc3339
from genplatform.spec.refusals import refuse
from genplatform.spec.words import shown

_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_TEXT = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smhd])\Z")
PATTERN = r"^[0-9]{1,9}(\.[0-9]{1,3})?[smhd]$"
SHORTEST = 1.0
LONGEST = 366.0 * _UNITS["d"]
HINT = "Write a number of seconds, or a text such as 90s, 15m, 2h or 1d."
DEADLINE_HINT = "Write a time with its zone such as 2026-12-01T12:00:00Z, or a duration such as 12h."


def said(seconds: float) -> str:
    """Return a duration as a job file would say it: `90s`, `15m`, `2h`."""
    unit = next((u for u, length in _UNITS.items() if seconds >= length and seconds % length == 0), "s")
    return f"{seconds / _UNITS[unit]:g}{unit}"


def _seconds(value: Any) -> float | None:
    """Return the seconds that a value stands for; None when it is no duration at all."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    found = _TEXT.match(value) if isinstance(value, str) else None
    return float(found.group(1)) * _UNITS[found.group(2)] if found is not None else None


def _within(seconds: float, value: Any, hint: str) -> float:
    if not SHORTEST <= seconds <= LONGEST:
        raise refuse(f"is {shown(value)}; from {said(SHORTEST)} to {said(LONGEST)} is possible", hint)
    return seconds


def _checked_duration(value: Any) -> float:
    seconds = _seconds(value)
    if seconds is None:
        raise refuse(f"is {shown(value)}, and not a duration", HINT)
    return _within(seconds, value, HINT)


def _checked_deadline(value: Any) -> float | str:
    seconds = _seconds(value)
    if seconds is not None:
        return _within(seconds, value, DEADLINE_HINT)
    try:
        return rfc3339(moment(value)) or ""
    except (TypeError, ValueError, OverflowError):
        raise refuse(f"is {shown(value)}, and neither a time nor a duration", DEADLINE_HINT) from None


_NUMBER = {"type": "number", "minimum": SHORTEST, "maximum": LONGEST}

# In seconds.
Duration = Annotated[
    float,
    PlainValidator(_checked_duration),
    WithJsonSchema({"anyOf": [_NUMBER, {"type": "string", "pattern": PATTERN}]}),
]

# A moment as RFC 3339 in UTC, or seconds from the submit on.
Deadline = Annotated[
    float | str,
    PlainValidator(_checked_deadline),
    WithJsonSchema(
        {"anyOf": [_NUMBER, {"type": "string", "pattern": PATTERN}, {"type": "string", "format": "date-time"}]}
    ),
]
