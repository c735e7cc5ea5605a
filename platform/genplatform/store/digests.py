"""What is known of bytes once they are stored, and the copy that learns it on the way."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

CHUNK = 1 << 20


@dataclass(frozen=True)
class Stored:
    """An object as it was written: its key, the SHA-256 of its bytes in hex, and its size in bytes."""

    key: str
    sha256: str
    size: int

    def as_json(self) -> dict[str, Any]:
        """Return it as it travels."""
        return asdict(self)


def chunks(source: BinaryIO, size: int = CHUNK) -> Iterator[bytes]:
    """Read `source` to its end, a chunk at a time."""
    while chunk := source.read(size):
        yield chunk


def copy(pieces: Iterable[bytes], write: Callable[[bytes], object], key: str) -> Stored:
    """Pass all pieces to `write`, and return what went through as `key`."""
    digest, size = hashlib.sha256(), 0
    for piece in pieces:
        write(piece)
        digest.update(piece)
        size += len(piece)
    return Stored(key, digest.hexdigest(), size)


def measure(source: BinaryIO, key: str) -> Stored:
    """Read `source` to its end and return what it holds as `key`."""
    return copy(chunks(source), len, key)
