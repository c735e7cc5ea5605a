"""A command as a child process under a guard: started, asked to stop, ended, waited for."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

GUARD = Path(__file__).with_name("guard.py")


class NotStarted(Exception):
    """The program could not be started; `number` is the system's errno."""

    def __init__(self, number: int) -> None:
        super().__init__(os.strerror(number))
        self.number = number


class Child:
    """A running command. `stdout` and `stderr` are the descriptors to read from; whoever reads closes them."""

    def __init__(self, argv: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        """Start it; raises NotStarted."""
        self.stdout, out = os.pipe()
        self.stderr, err = os.pipe()
        hand, self._hand = os.pipe()
        self._status, status = os.pipe()
        try:
            # Both ways of Python that would read the command's own surroundings are closed: -I and -S.
            guard = subprocess.Popen(
                [sys.executable, "-I", "-S", str(GUARD), str(status), *argv],
                cwd=folder,
                env=dict(environment),
                stdin=hand,
                stdout=out,
                stderr=err,
                pass_fds=(status,),
            )
        finally:
            for number in (out, err, hand, status):
                os.close(number)
        guard.wait()  # it has detached
        self._words = os.fdopen(self._status, encoding="utf-8")
        self._let_go = threading.Lock()
        self.pid = 0
        word, _, value = self._words.readline().strip().partition(" ")
        if word != "started":
            self._close()
            for number in (self.stdout, self.stderr):
                os.close(number)
            raise NotStarted(int(value) if word == "refused" else 0)
        self.pid = int(value)

    def terminate(self) -> None:
        """Ask its whole group to end."""
        with self._let_go:
            if self._hand >= 0:
                with contextlib.suppress(BrokenPipeError):
                    os.write(self._hand, b"T")

    def kill(self) -> None:
        """End all of its processes."""
        with self._let_go:
            if self._hand >= 0:
                os.close(self._hand)
                self._hand = -1

    def wait(self) -> int | None:
        """Wait for its end and return its code, negative for a signal; None when its guard was killed."""
        word, _, value = self._words.readline().strip().partition(" ")
        code = int(value) if word == "ended" else None
        if code is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        self._close()
        return code

    def _close(self) -> None:
        self.kill()
        self._words.close()
