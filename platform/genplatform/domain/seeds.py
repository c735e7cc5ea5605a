"""Seeds of items: a function of the spec's seed and the item's index, and of nothing else."""

from __future__ import annotations

import hashlib


def item_seed(seed: int, index: int) -> int:
    """Return the first 63 bits of SHA-256 of `"{seed}:{index}"`, a whole number in [0, 2**63)."""
    digest = hashlib.sha256(f"{seed}:{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
