"""Words for people: server text made safe for a terminal, times, sizes, durations. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

# C0 and C1 controls, DEL, what re-orders or hides text (bidi controls and marks, separators,
# zero-width and tag characters), and lone surrogates, which no encoding can write.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


def clean(value: Any) -> str:
    r"""Return `value` as one line of text that no terminal obeys: `\x1b` and its like are spelled out."""
    return _UNSAFE.sub(_spelled, str(value))


def clean_line(text: str) -> str:
    """Like `clean`, for a log line: tabs stay."""
    return "\t".join(clean(part) for part in text.split("\t"))


def _spelled(match: re.Match[str]) -> str:
    number = ord(match[0])
    if match[0] in "\n\r\t":
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}[match[0]]
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def parse_time(text: Any) -> float | None:
    """Return an RFC 3339 time as seconds since the epoch, or None when it is not one."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def ago(text: Any, now: float) -> str:
    """Return `12 s ago` for an RFC 3339 time; `-` when there is none."""
    moment = parse_time(text)
    return "-" if moment is None else f"{duration(max(0.0, now - moment))} ago"


def duration(seconds: float) -> str:
    """Return `42 s`, `3 min 20 s`, `2 h 5 min` or `3 d 4 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole < 600 and whole % 60 else "")
    if whole < 86400:
        return f"{whole // 3600} h" + (f" {whole % 3600 // 60} min" if whole % 3600 >= 60 else "")
    return f"{whole // 86400} d" + (f" {whole % 86400 // 3600} h" if whole % 86400 >= 3600 else "")


def took(job: Mapping[str, Any]) -> str:
    """Return how long a job ran, or an empty string when it has not run or is not over."""
    begun, ended = parse_time(job.get("started_at")), parse_time(job.get("finished_at"))
    return "" if begun is None or ended is None else duration(max(0.0, ended - begun))


_SPAN = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?\Z")


def parse_since(text: str, now: float) -> float | None:
    """Read `90`, `90s`, `10m`, `1h30m`, `2d` (that long before `now`) or an RFC 3339 time; None for neither."""
    if text.isdecimal() and len(text) < 10:
        return now - int(text)
    if text and (match := _SPAN.match(text)):
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return now - (days * 86400 + hours * 3600 + minutes * 60 + seconds)
    return parse_time(text)


def number(value: Any) -> str:
    """Return a metric: four significant digits; other values as they are, made safe."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return clean(value)


def size(count: Any) -> str:
    """Return a number of bytes for people: `512 B`, `1.2 kB`, `3.4 MB`."""
    if not isinstance(count, (int, float)):
        return "-"
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def place(uri: Any) -> str:
    """Return where a `uri` is, for people: the path of a file:// URL, any other URL as it is."""
    text = str(uri or "")
    parts = urlsplit(text)
    return clean(str(Path(unquote(parts.path)))) if parts.scheme == "file" else clean(text)


def progress(document: Any) -> str:
    """Return `1200/4000 steps` of a progress document; `-` when there is none."""
    if not isinstance(document, dict):
        return "-"
    return f"{clean(document.get('done'))}/{clean(document.get('total'))} {_units(document)}"


def rate_and_eta(document: Any) -> list[str]:
    """Return `410.2 steps/s` and `ETA 7 s`, as far as they are known."""
    if not isinstance(document, dict):
        return []
    found = []
    if isinstance(rate := document.get("rate"), (int, float)):
        found.append(f"{rate:.4g} {_units(document)}/s")
    if isinstance(eta := document.get("eta_seconds"), (int, float)):
        found.append(f"ETA {duration(eta)}")
    return found


def _units(document: Mapping[str, Any]) -> str:
    unit = clean(document.get("unit") or "")
    return unit if unit.endswith("s") or not unit else f"{unit}s"


def job_line(job: Mapping[str, Any]) -> str:
    """Return a job's id, name and state, and why it is there, in one line."""
    words = [clean(job.get(key)) for key in ("id", "name", "state")]
    return "  ".join([*words, why] if (why := reason(job)) else words)


def reason(job: Mapping[str, Any]) -> str:
    """Return why a job is where it is, in its own words; its error when it has one."""
    for key in ("error", "reason"):
        found = job.get(key)
        if isinstance(found, dict):
            return clean(found.get("message") or found.get("code") or "")
        if isinstance(found, str) and found:
            return clean(found)
    return ""
