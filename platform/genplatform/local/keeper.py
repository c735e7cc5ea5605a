"""Keeps one part alive: starts it, asks whether it is ready, starts it again with back-off when it dies."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from genplatform.local import processes
from genplatform.local.logfile import keep_short, tail
from genplatform.local.part import Part
from genplatform.settings import environment

LEASH = Path(__file__).with_name("leash.py")
SETTLED_SECONDS = 10.0  # a part that lived this long has not "died again"
SLOWEST_RETRY = 15.0


class Keeper:
    """One part and what has become of it. `state` is up, starting, failed or down."""

    def __init__(self, part: Part, marks: Mapping[str, str], logs: Path, cwd: Path) -> None:
        self.part = part
        self.state = "starting" if part.argv else "up"
        self.restarts = 0
        self.log = logs / f"{part.name}.log"
        # The session that the part's latest process leads; it is its pid.
        self.session = 0
        self._marks = {**marks, processes.PART: part.name}
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None
        self._last_death = ""
        self._deaths = 0
        self._began = 0.0
        self._due = 0.0
        self._kill_at = 0.0
        self._swept = False
        self._waits_for: list[str] = []

    def tick(self, now: float, up: Collection[str]) -> None:
        """Do what is due: notice a death, ask for readiness, or start. `up` names the parts that are up."""
        keep_short(self.log)
        if not self.part.argv or (self.part.once and self.state == "up"):
            return
        if self._process is not None:
            self._watch(self._process, now)
        elif now >= self._due:
            self._waits_for = [name for name in self.part.needs if name not in up]
            if not self._waits_for:
                self._start(now)

    def _start(self, now: float) -> None:
        self._began = now
        try:
            self._process = self._spawn()
        except OSError as error:  # no memory, no disk, no such program
            self._died(f"could not be started: {error.strerror}", now)
        else:
            self.session = self._process.pid

    def _spawn(self) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), *self.part.argv]
        with open(self.log, "ab") as out:
            return subprocess.Popen(
                argv,
                env=environment(**{**self.part.env, **self._marks}),
                cwd=self._cwd,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _watch(self, process: subprocess.Popen[bytes], now: float) -> None:
        code = process.poll()
        if code is not None:
            self._process = None
            if self.part.once and code == 0:
                self.state = "up"
            else:
                self._died(_how(code), now)
        elif self.state != "up" and not self.part.once and self.part.ready():
            self.state = "up"
        elif self.state != "up" and now - self._began > self.part.start_seconds:
            self._end_session()
            process.wait()
            self._process = None
            self._died(f"was not ready after {self.part.start_seconds:.0f} s", now)

    def _died(self, how: str, now: float) -> None:
        """Record the death and when to try again: at once, then ever later."""
        self._end_session()
        settled = self.state == "up" and now - self._began > SETTLED_SECONDS
        self._deaths = 1 if settled else self._deaths + 1
        self.restarts += 1
        self._last_death = how
        self._due = now + (0.0 if self._deaths == 1 else min(0.5 * 2 ** (self._deaths - 2), SLOWEST_RETRY))
        self.state = "failed" if self._deaths >= self.part.deaths else "starting"

    def _end_session(self) -> None:
        """Kill what the part's process left: Ray refuses to start while one of its own is alive."""
        if self.session:
            processes.end(lambda: processes.of_session(self.session), grace=0.0)

    def ask_to_stop(self, now: float) -> None:
        """Send TERM; `still_stopping` sees it through."""
        self._kill_at = now + self.part.stop_seconds
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)

    def still_stopping(self, now: float) -> bool:
        """Whether the part is still on its way down; past its time it is killed. Then nothing of it is left."""
        if self._process is not None and self._process.poll() is None:
            if now < self._kill_at:
                return True
            self._process.kill()
            self._process.wait()
        self._process = None
        if self.session and not self._swept:
            processes.end(lambda: processes.of_session(self.session), grace=2.0)
            self._swept = True
        if self.part.argv and not self.part.once:
            self.state = "down"
        return False

    def as_json(self) -> dict[str, Any]:
        """Return the part as it stands in `platform.json`."""
        failed = self.state == "failed"
        return {
            "name": self.part.name,
            "state": self.state,
            "pid": self._process.pid if self._process is not None else None,
            "port": self.part.port,
            "detail": self._detail(),
            "hint": f"Read {self.log}. {self.part.hint}".strip() if failed else "",
            "log": str(self.log) if self.part.argv else "",
            "restarts": self.restarts,
        }

    def _detail(self) -> str:
        words = [self.part.detail] if self.part.detail else []
        if self.state == "starting" and self._waits_for and self._process is None:
            words.append("waits for " + " and ".join(self._waits_for))
        if self.restarts:
            times = "once" if self.restarts == 1 else f"{self.restarts} times"
            words.append(f"died {times}, the last time it {self._last_death}")
        if self.state == "failed":
            words += tail(self.log)
        return "; ".join(words)


def _how(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"was killed by {signal.Signals(-code).name}"
    return f"ended with code {code}"
