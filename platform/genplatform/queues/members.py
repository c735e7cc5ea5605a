"""What travels through the queues as text: keys and reports, and the doubt in reading them back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from genplatform.domain.keys import JobKey, LeaseKey, ShardKey, parse_lease
from genplatform.errors import BadRequest

K = TypeVar("K")
T = TypeVar("T")

# Long enough to make the round trip small, short enough not to hold the server up for others.
BATCH = 1000


def member(key: JobKey | ShardKey | LeaseKey) -> str:
    """Return a key as text; one whose parts would read back as another's raises BadRequest."""
    text = str(key)
    parsed = parse_lease(text) if len(key) in {3, 5} else type(key).parse(text)
    if parsed != key:
        raise BadRequest(f"{text!a} cannot be a key of the queues.", "Tenants and ids hold no '/' and are not empty.")
    return text


def parsed(raw: Sequence[bytes], parse: Callable[[str], K | None]) -> tuple[list[K], list[bytes]]:
    """Split what came out of a queue into the keys it names and what is no key at all."""
    good: list[K] = []
    bad: list[bytes] = []
    for text in raw:
        key = parse(text.decode(errors="replace"))
        if key is None:
            bad.append(text)
        else:
            good.append(key)
    return good, bad


def encode_report(entry: Mapping[str, Any]) -> str:
    """Return a report as compact JSON."""
    return json.dumps(dict(entry), separators=(",", ":"))


def decode_report(raw: bytes | str) -> dict[str, Any] | None:
    """Return the JSON object, or None when it is something else."""
    try:
        entry = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def batches(things: Sequence[T], size: int = BATCH) -> Iterator[Sequence[T]]:
    """Cut a sequence into pieces of at most `size`."""
    return (things[start : start + size] for start in range(0, len(things), size))
