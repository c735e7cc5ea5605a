"""Byte strings of any length on disk, addressed by index: what is read once, in a file that no name leads to.

Memory holds where each begins, eight bytes; reading takes the memory of those that are read.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from array import array

from genworkers.data.rows import ASKED_EVERY, expect_room, keeping


class Spans:
    """Byte strings; appended first, then read."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="genctl-data-")  # noqa: SIM115 - open as long as this is
        self._ends = array("Q", [0])
        self._digest = hashlib.sha256()
        self._unasked = ASKED_EVERY

    def __len__(self) -> int:
        return len(self._ends) - 1

    @property
    def size(self) -> int:
        """The bytes of all of them."""
        return self._ends[-1]

    def append(self, data: bytes) -> None:
        """Add one; raises BadRequest where it has no room."""
        self._unasked += len(data)
        if self._unasked >= ASKED_EVERY:
            expect_room(len(data))
            self._unasked = 0
        with keeping():
            self._file.write(data)
        self._digest.update(len(data).to_bytes(8, "little"))
        self._digest.update(data)
        self._ends.append(self._ends[-1] + len(data))

    def finish(self) -> str:
        """Make what was added readable, and return the digest of it: each one's length and bytes, in order."""
        with keeping():
            self._file.flush()
        return hashlib.sha256(f"spans {len(self)}\n".encode() + self._digest.digest()).hexdigest()

    def take(self, index: int) -> bytes:
        """Return one of them."""
        start, end = self._ends[index], self._ends[index + 1]
        return os.pread(self._file.fileno(), end - start, start)
