"""What a command prints, read as it comes, line by line, into the Run's log."""

from __future__ import annotations

import os
import threading
from collections import deque

from genworkers.commanding.child import Child
from genworkers.outbox import Outbox

BLOCK = 1 << 16
KEPT_LAST = 20
LONGEST_PIECE = 4_000


class Listening:
    """Reads both outputs of a command, each in a thread of its own, until they end."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._last: deque[str] = deque(maxlen=KEPT_LAST)
        self._threads: list[threading.Thread] = []

    def start(self, child: Child) -> None:
        """Begin to read."""
        for name, number in (("stdout", child.stdout), ("stderr", child.stderr)):
            thread = threading.Thread(target=self._read, args=(name, number), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def finish(self, seconds: float) -> None:
        """Wait until all is read, at most so long each."""
        for thread in self._threads:
            thread.join(seconds)

    def last_words(self) -> list[str]:
        """Return the last lines of standard error."""
        return list(self._last)

    def _read(self, stream: str, number: int) -> None:
        rest = b""
        try:
            while block := os.read(number, BLOCK):
                *lines, rest = (rest + block).split(b"\n")
                for line in lines:
                    self._take(stream, line)
                if len(rest) > LONGEST_PIECE:
                    self._take(stream, rest)
                    rest = b""
            if rest:
                self._take(stream, rest)
        finally:
            os.close(number)

    def _take(self, stream: str, line: bytes) -> None:
        text = line.rstrip(b"\r").decode("utf-8", "replace")
        if stream == "stderr":
            self._last.append(text)
        self._outbox.log(text)
