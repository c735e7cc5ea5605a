"""What a command prints, read as it comes: all of it into a transcript, and as much as anybody reads to the platform.

It is read no faster than is good for others: a program that prints without end waits for us, as
it would for a slow disk, and the node's processors are not spent on its words.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from pathlib import Path

from genplatform.domain.log_lines import Stream
from genworkers.commanding.child import Child
from genworkers.commanding.sieve import Sieve
from genworkers.outbox import Outbox
from genworkers.transcript import Line, Transcript, unkept

BLOCK = 1 << 16
MOST_BYTES_A_SECOND = 8 << 20
KEPT_LAST = 20
LONGEST_PIECE = 4_000
WAIT_SECONDS = 0.5


class Listening:
    """Reads both outputs of a command, each in a thread of its own, until they end."""

    def __init__(self, outbox: Outbox, folder: Path) -> None:
        self._outbox = outbox
        self._transcript = Transcript(folder)
        self._sieve = Sieve(time.monotonic())
        self._last: deque[str] = deque(maxlen=KEPT_LAST)
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def start(self, child: Child) -> None:
        """Begin to read."""
        for stream, number in ((Stream.STDOUT, child.stdout), (Stream.STDERR, child.stderr)):
            thread = threading.Thread(target=self._read, args=(stream, number), name=stream.word, daemon=True)
            self._threads.append(thread)
            thread.start()

    def say(self, text: str) -> None:
        """Add a line of the worker's own."""
        with self._lock:
            self._send(self._sieve.rest())
            line = Line(text, Stream.LOG, time.time())
            self._transcript.add(line)
            self._send([line])

    def between(self, seconds: float) -> None:
        """Wait until all of what ended is read, at most so long each, and forget its last words."""
        for thread in self._threads:
            thread.join(seconds)
        self._threads.clear()
        with self._lock:
            self._last.clear()

    def finish(self, seconds: float) -> Path | None:
        """Wait until all is read, at most so long each; return the transcript, if anything was printed."""
        for thread in self._threads:
            thread.join(seconds)
        with self._lock:
            self._closed.set()
            self._send(self._sieve.rest())
            whole = self._transcript.close()
            if self._transcript.failed is not None:
                self._send([Line(unkept(self._transcript.failed), Stream.LOG, time.time())])
            return whole

    def last_words(self) -> list[str]:
        """Return the last lines of standard error."""
        return list(self._last)

    def _read(self, stream: Stream, number: int) -> None:
        rest = b""
        begun, read = time.monotonic(), 0
        try:
            while True:
                if not select.select([number], [], [], WAIT_SECONDS)[0]:
                    with self._lock:
                        self._send(self._sieve.due(time.monotonic()))
                    continue
                if not (block := os.read(number, BLOCK)):
                    break
                *lines, rest = (rest + block).split(b"\n")
                if len(rest) > LONGEST_PIECE:
                    lines, rest = [*lines, rest], b""
                self._take(stream, lines)
                read += len(block)
                ahead = read / MOST_BYTES_A_SECOND - (time.monotonic() - begun)
                if ahead > 0:
                    self._closed.wait(ahead)
                elif ahead < -1.0:  # what was not printed earlier is no credit for later
                    begun, read = time.monotonic(), 0
            self._take(stream, [rest] if rest else [])
        finally:
            os.close(number)

    def _take(self, stream: Stream, lines: list[bytes]) -> None:
        now, passed = time.time(), time.monotonic()
        with self._lock:
            if self._closed.is_set():
                return
            for data in lines:
                line = Line(data.rstrip(b"\r").decode("utf-8", "replace"), stream, now)
                if stream is Stream.STDERR:
                    self._last.append(line.text)
                self._transcript.add(line)
                self._send(self._sieve.take(line, passed))

    def _send(self, lines: list[Line]) -> None:
        for line in lines:
            self._outbox.log(line.text, line.stream, line.time)
