"""How the spec speaks of values and names in its messages: short, and safe to print.

What stands in a job file may hold control characters or a megabyte of text; nothing of it
reaches a terminal or a page but through `shown`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from genplatform.errors import SpecProblem

LONGEST_SHOWN = 60

FieldPath = tuple[str | int, ...]


class Found(NamedTuple):
    """A problem and the path it speaks of; `at_key` when the field's name is wrong, not its value."""

    problem: SpecProblem
    path: FieldPath
    at_key: bool = False


def shown(value: object) -> str:
    """Return `value` as a message shows it: repr for text, never longer than about 60 characters."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # repr escapes every character that is not printable, direction overrides included.
        return repr(value if len(value) <= LONGEST_SHOWN else value[:LONGEST_SHOWN] + "...")
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return "a list"
    return "a mapping" if isinstance(value, dict) else f"a {type(value).__name__}"


def nearest(word: object, known: Iterable[str]) -> str:
    """Return the known name most like `word`, or an empty string."""
    # Nothing that long is a slip of the finger, and difflib's cost grows with the square of it.
    if not isinstance(word, str) or len(word) > LONGEST_SHOWN:
        return ""
    by_fold = {name.casefold(): name for name in known}
    found = difflib.get_close_matches(word.casefold(), by_fold, n=1, cutoff=0.6)
    return by_fold[found[0]] if found else ""


def suggestion(word: object, known: Sequence[str], what: str) -> str:
    """Return the hint for a wrong name: the nearest right one, else all of them."""
    near = nearest(word, known)
    if near:
        return f"Did you mean {near!r}?"
    return f"{what}: {', '.join(known)}." if known else ""


def dotted(path: Sequence[Any]) -> str:
    """Return a field's path as people write it: `resources.workers`, `needs[0]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            plain = part if part.isprintable() and 0 < len(part) <= LONGEST_SHOWN else shown(part)
            text += f".{plain}" if text else plain
    return text
