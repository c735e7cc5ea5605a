"""One more dispatcher for a whole platform: a real process, told what the supervisor's own is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from types import TracebackType
from typing import Self

import psutil
from whole_platform import WholePlatform

from genplatform.local import processes
from genplatform.local.keeper import LEASH

LOG = "dispatcher-2.log"


class SecondDispatcher:
    """Lives as long as the `with` block, and no longer than the process that tests.

    It carries the platform's mark, so that `genctl down` ends it too.
    """

    def __init__(self, platform: WholePlatform) -> None:
        first = psutil.Process(platform.part("dispatcher"))
        self.log = platform.settings.logs / LOG
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), *first.cmdline()],
                env=first.environ() | {processes.PART: "dispatcher-2"},
                cwd=platform.settings.home,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        processes.end(lambda: processes.of_session(self.pid), grace=1.0)
