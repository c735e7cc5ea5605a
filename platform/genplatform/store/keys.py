"""Keys of the store: relative POSIX paths from a small alphabet, checked before anything touches a path.

The alphabet is an allow-list on purpose. What it leaves out is what some backend reads as
more than a letter: backslash and NUL in paths, `%` in URLs, `*`, `?` and `[` in fsspec's
globs, control characters and look-alikes in listings and logs.
"""

from __future__ import annotations

import re

from genplatform.errors import BadRequest

# The folder of half-written things. Nothing of it is ever listed, read or published.
STAGING = ".staging"

LONGEST_KEY = 900
LONGEST_PART = 200

_PART = re.compile(r"[A-Za-z0-9._+=@,-]+\Z")
_RULE = (
    "Keys are relative paths such as models/default/abc/card.json: letters, digits and any of . _ - + = @ , "
    f"in parts of 1 to {LONGEST_PART} characters, at most {LONGEST_KEY} in all, no part being '.' or '..'."
)


def check_key(key: str) -> str:
    """Return `key` when it may name an object or a folder of objects, else raise BadRequest."""
    parts = key.split("/")
    if len(key) > LONGEST_KEY or parts[0] == STAGING or not all(_is_part(part) for part in parts):
        raise BadRequest(f"{_short(key)} cannot be a key of the store.", _RULE)
    return key


def check_prefix(prefix: str) -> str:
    """Return a checked folder's key without its closing slash; an empty prefix means the whole store."""
    bare = prefix.removesuffix("/")
    return check_key(bare) if prefix else ""


def _is_part(part: str) -> bool:
    return part not in {".", ".."} and len(part) <= LONGEST_PART and bool(_PART.match(part))


def _short(key: str) -> str:
    # ascii(): control characters and look-alikes must not reach a terminal or a log as they are.
    text = ascii(key)
    return text if len(text) <= 120 else f"{text[:117]}..."
