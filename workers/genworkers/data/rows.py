"""Rows of one size on disk, addressed by index: what is decoded once, in a file that no name leads to.

The file has no name from its first moment on, so nothing stays behind however the process ends.
Reading takes the memory of the rows that are read, and no more: the file is not mapped.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from genplatform.errors import BadRequest

Array = np.ndarray[Any, Any]

KEPT_FREE = 256 << 20
BLOCK = 4 << 20
# After so many bytes it is asked again whether others have room left.
ASKED_EVERY = 64 << 20


class Rows:
    """Rows of one shape and type; appended first, then read."""

    def __init__(self, shape: Sequence[int], dtype: np.dtype[Any]) -> None:
        self.shape, self.dtype = tuple(shape), dtype
        self.count = 0
        self.row_bytes = max(1, math.prod(self.shape) * dtype.itemsize)
        self._file = tempfile.TemporaryFile(prefix="genctl-data-")  # noqa: SIM115 - open as long as this is
        self._digest = hashlib.sha256()
        self._unasked = ASKED_EVERY

    def __len__(self) -> int:
        return self.count

    def expect(self, rows: int) -> None:
        """Raise BadRequest when so many more rows cannot have room here."""
        expect_room(rows * self.row_bytes)

    def append(self, rows: Array) -> None:
        """Add rows: of this shape, or several of them."""
        data = np.ascontiguousarray(rows, dtype=self.dtype)
        count = data.nbytes // self.row_bytes
        self._unasked += data.nbytes
        if self._unasked >= ASKED_EVERY:
            self.expect(count)
            self._unasked = 0
        with keeping():
            self._file.write(data.data)
        self._digest.update(data.data)
        self.count += count

    def finish(self) -> str:
        """Make what was added readable, and return the digest of its shape, type and bytes."""
        with keeping():
            self._file.flush()
        head = f"{self.dtype.str} {(self.count, *self.shape)}\n"
        return hashlib.sha256(head.encode() + self._digest.digest()).hexdigest()

    def take(self, indices: Array) -> Array:
        """Return the rows of those indices, in their order, as an array of one's own."""
        descriptor, size = self._file.fileno(), self.row_bytes
        data = bytearray().join([os.pread(descriptor, size, index * size) for index in indices.tolist()])
        return np.frombuffer(data, self.dtype).reshape(len(indices), *self.shape)

    def blocks(self) -> Iterator[Array]:
        """Yield all rows in their order, a few megabytes at a time."""
        step = max(1, BLOCK // self.row_bytes)
        for start in range(0, self.count, step):
            yield self.take(np.arange(start, min(start + step, self.count)))


def expect_room(size: int) -> None:
    """Raise BadRequest when so many bytes more cannot have room in the temporary folder."""
    free = shutil.disk_usage(tempfile.gettempdir()).free - KEPT_FREE
    if size > free:
        raise BadRequest(
            f"The data takes {size:,} bytes more decoded, and {max(0, free):,} are free.",
            f"Make room in {tempfile.gettempdir()} on the node, lower data.size, or bring less.",
        )


@contextmanager
def keeping() -> Iterator[None]:
    """Turn what a full or broken disk raises into the user's error."""
    try:
        yield
    except OSError as error:
        raise BadRequest(
            f"The decoded data cannot be kept on the node: {error.strerror}.",
            f"Make room in {tempfile.gettempdir()}, lower data.size, or bring less.",
        ) from error
