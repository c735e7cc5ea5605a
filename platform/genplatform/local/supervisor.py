"""The supervisor: starts the parts in the order of their needs, watches them, starts again what dies, stops all.

One process, one thread, the standard library and psutil. It holds the home's lock for its life
and tells what it sees in `platform.json`. A part never outlives it: each is on a leash (see
`leash.py`), and what the leash cannot hold carries a mark that `down` and the next `up` look for.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from genplatform.domain.times import rfc3339
from genplatform.local import home, processes
from genplatform.local.keeper import Keeper
from genplatform.local.logfile import keep_short
from genplatform.local.part import Part
from genplatform.settings import Settings

QUICK_TICK = 0.1  # while something is starting
SLOW_TICK = 1.0  # else; the death of a part wakes the loop at once


class Supervisor:
    """Keeps `parts` alive for the home in `settings` until it is told to stop, or the home is gone."""

    def __init__(
        self,
        settings: Settings,
        lock: home.Lock,
        url: str,
        parts: Sequence[Part],
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._lock = lock
        self._url = url
        self._clock = clock
        self._started_at = rfc3339(wall())
        self._instance = lock.identity()
        marks = {processes.MARK: self._instance, "GENCTL_HOME": str(settings.home)}
        self._keepers = {part.name: Keeper(part, marks, settings.logs, settings.home) for part in parts}
        self._written: dict[str, Any] = {}
        self._stopping = False
        self._been_up = False

    def run(self) -> None:
        """Do the supervisor's work, from the first start to the last trace removed."""
        with self._signals() as wake:
            while not self._stopping and self._lock.in_place:
                starting = self._tick()
                self._publish()
                self._wait(wake, QUICK_TICK if starting else SLOW_TICK)
            self._stop_all()
        self._leave_nothing()

    def _tick(self) -> bool:
        """Look after each part once; return whether something is on its way up."""
        for keeper in self._keepers.values():
            up = {name for name, other in self._keepers.items() if other.state == "up"}
            keeper.tick(self._clock(), up)
        keep_short(self._settings.logs / "supervisor.log")
        states = {keeper.state for keeper in self._keepers.values()}
        self._been_up = self._been_up or states == {"up"}
        return states != {"up"}

    def _stop_all(self) -> None:
        """Stop the parts, turn after turn: who needs others goes before them."""
        for turn in sorted({keeper.part.stop_turn for keeper in self._keepers.values()}):
            going = [keeper for keeper in self._keepers.values() if keeper.part.stop_turn == turn]
            for keeper in going:
                keeper.ask_to_stop(self._clock())
            while any([keeper.still_stopping(self._clock()) for keeper in going]):  # noqa: C419 - all, each time
                self._publish()
                time.sleep(0.05)
            self._publish()

    def _leave_nothing(self) -> None:
        sessions = [keeper.session for keeper in self._keepers.values() if keeper.session]
        processes.end(lambda: processes.marked(self._instance, sessions), grace=1.0)
        remove_traces(self._settings.platform_file, self._settings.runtime_dir)

    def _state(self) -> str:
        if self._stopping:
            return "stopping"
        states = {keeper.state for keeper in self._keepers.values()}
        if states == {"up"}:
            return "up"
        if "failed" in states:
            return "degraded"
        return "degraded" if self._been_up else "starting"

    def _publish(self) -> None:
        """Write `platform.json` when something in it has changed."""
        me = {
            "name": "supervisor",
            "state": "up",
            "pid": os.getpid(),
            "port": None,
            "detail": "",
            "hint": "",
            "log": "",
        }
        document = {
            "url": self._url,
            "started_at": self._started_at,
            "state": self._state(),
            "instance": self._instance,
            "runtime_dir": str(self._settings.runtime_dir),
            "parts": [{**me, "restarts": 0}, *(keeper.as_json() for keeper in self._keepers.values())],
        }
        if document != self._written and self._lock.in_place:
            with contextlib.suppress(OSError):  # a full disk must not end the platform; the next change tries again
                home.write_json(self._settings.platform_file, document)
                self._written = document

    @contextlib.contextmanager
    def _signals(self) -> Iterator[int]:
        """Let TERM and INT ask to stop, and let these and the death of a child wake the loop."""
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else _pipe()

        def stop(*_: object) -> None:
            self._stopping = True

        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        yield reader
        signal.set_wakeup_fd(-1)

    @staticmethod
    def _wait(wake: int, seconds: float) -> None:
        ready, _, _ = select.select([wake], [], [], seconds)
        if ready:
            with contextlib.suppress(BlockingIOError):
                os.read(wake, 4096)


def _pipe() -> tuple[int, int]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    return reader, writer


def remove_traces(platform_file: Path, runtime_dir: Path) -> None:
    """Remove what only a running platform has: `platform.json`, and the folder of sockets and Ray's files."""
    platform_file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        if not runtime_dir.is_symlink() and runtime_dir.stat().st_uid == os.getuid():
            shutil.rmtree(runtime_dir, ignore_errors=True)


def supervise(settings: Settings, lock_fd: int, plan: Callable[[Settings], tuple[str, Sequence[Part]]]) -> None:
    """Be the supervisor: `lock_fd` is the home's lock, taken by the `up` that started this process."""
    os.set_inheritable(lock_fd, False)
    os.umask(0o077)
    lock = home.Lock(lock_fd, home.lock_file(settings))
    home.prepare_runtime(settings.runtime_dir)
    url, parts = plan(settings)
    Supervisor(settings, lock, url, parts).run()


def marks(instance: str, settings: Settings) -> Mapping[str, str]:
    """Return what the supervisor's own process is marked with."""
    return {processes.MARK: instance, processes.PART: "supervisor", "GENCTL_HOME": str(settings.home)}
