"""Public ids: a prefix, then ten random letters and digits without look-alikes.

Random first, never time-ordered, so that short prefixes are unique.
"""

from __future__ import annotations

from collections.abc import Callable

ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"
LENGTH = 10
_ALL = len(ALPHABET) ** LENGTH
# An id is drawn at once and spelled two letters at a time: a hundred thousand are made in one request.
_PAIRS = [high + low for high in ALPHABET for low in ALPHABET]

# Returns a whole number in [0, n); `secrets.randbelow` in the platform, a seeded one in tests.
RandBelow = Callable[[int], int]


def new_id(prefix: str, randbelow: RandBelow) -> str:
    """Return a fresh id such as `j_7kq2mzx9ab`."""
    left, letters = randbelow(_ALL), ""
    for _ in range(LENGTH // 2):
        left, pair = divmod(left, len(_PAIRS))
        letters = _PAIRS[pair] + letters
    return f"{prefix}_{letters}"


def is_id_prefix(text: str, prefix: str) -> bool:
    """Tell whether `text` could be the start of an id of that kind (the prefix itself included)."""
    head = f"{prefix}_"
    body = text.removeprefix(head)
    return text.startswith(head) and len(body) <= LENGTH and all(c in ALPHABET for c in body)
