"""File names of any sort as keys of the store, whose letters are few: the others are written `=` and two hex digits."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote_to_bytes

_OTHER = re.compile(rb"[^A-Za-z0-9._+@,-]")
_DOTS = frozenset({b".", b".."})


def to_key(path: str) -> str:
    """Return a relative path as a key; `to_path` gives the path back."""
    parts = os.fsencode(path).split(b"/")
    return "/".join(_OTHER.sub(_escaped, part).decode("ascii") for part in parts if part and part not in _DOTS)


def to_path(key: str) -> str:
    """Return the path that `to_key` made a key of; raises ValueError for what leads elsewhere, or is no such key."""
    parts = [unquote_to_bytes(part.replace("=", "%")) for part in key.split("/")]
    if any(not part or part in _DOTS or b"/" in part or b"\0" in part for part in parts):
        raise ValueError(f"{key!r} names no file")
    return os.fsdecode(b"/".join(parts))


def shown(key: str) -> str:
    """Return the path that `to_key` made a key of as text: what is no text in it is replaced."""
    return unquote_to_bytes(key.replace("=", "%")).decode("utf-8", "replace")


def _escaped(found: re.Match[bytes]) -> bytes:
    return b"=%02X" % found.group()[0]
