"""All that a Run said or printed, in a file: its beginning and its end, bounded, with a word of what is left out.

Each line has its time, its rank and where it was printed before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedWriter
from pathlib import Path
from typing import NamedTuple

from genplatform.domain.log_lines import Stream
from genplatform.domain.times import rfc3339

HEAD_BYTES = 4 << 20
TAIL_BYTES = 4 << 20  # at least; at most twice as much
RANK = 0


class Line(NamedTuple):
    """A line, where it was printed and when."""

    text: str
    stream: Stream
    time: float


def unkept(why: object) -> str:
    """Return what a Run's log says when its transcript is not kept."""
    return f"What it said could not be kept in the store: {why}"


class Transcript:
    """Written line by line below `folder`, and put together in the end.

    A Run is no worse for a disk that takes no more of it: nothing here raises OSError, and `failed` tells why.
    """

    def __init__(self, folder: Path) -> None:
        self.failed: OSError | None = None
        self._folder = folder
        self._out: BufferedWriter | None = None
        with self._failing():
            self._out = self._open("head")
        self._room = HEAD_BYTES
        self._parts: list[tuple[str, int]] = [("head", 0)]  # with how many lines each has
        self._left_out = 0
        self._number = 0

    def add(self, line: Line) -> None:
        """Write a line, unless an earlier one could not be written."""
        if self.failed is None:
            with self._failing():
                self._add(line)

    def close(self) -> Path | None:
        """Put it together and return the file; None when there is not one line, or when it `failed`."""
        with self._failing():
            self._close_part()
            if self.failed is None and any(lines for _, lines in self._parts):
                return self._put_together()
        return None

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.failed = self.failed or error

    def _add(self, line: Line) -> None:
        data = f"{rfc3339(line.time)} {RANK} {line.stream.word} {line.text}\n".encode("utf-8", "replace")
        if len(data) > self._room:
            self._next_part()
        name, lines = self._parts[-1]
        self._parts[-1] = name, lines + 1
        self._room -= len(data)
        if self._out is not None:
            self._out.write(data)

    def _put_together(self) -> Path:
        whole = self._folder / "transcript.log"
        with whole.open("wb") as out:
            for index, (name, _) in enumerate(self._parts):
                if index == 1 and self._left_out:
                    out.write(f"[{self._left_out:,} lines are left out here]\n".encode())
                out.write((self._folder / f"{name}.part").read_bytes())
        return whole

    def _next_part(self) -> None:
        self._close_part()
        if len(self._parts) == 3:
            name, lines = self._parts.pop(1)
            self._left_out += lines
            (self._folder / f"{name}.part").unlink()
        self._number += 1
        name = f"tail-{self._number}"
        self._parts.append((name, 0))
        self._out = self._open(name)
        self._room = TAIL_BYTES

    def _open(self, name: str) -> BufferedWriter:
        return (self._folder / f"{name}.part").open("wb")

    def _close_part(self) -> None:
        if self._out is not None:
            out, self._out = self._out, None
            out.close()
