"""Finding and ending processes of the local platform, and no others.

Two marks tell them. Each carries `GENCTL_INSTANCE` in its environment; `GENCTL_HOME` would not
do, since the user's own shell may carry it. And each part leads a session of its own, which its
children stay in: some of Ray's processes write their title over their environment, so that only
the session tells whose they are.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Collection, Iterable

import psutil

MARK = "GENCTL_INSTANCE"
PART = "GENCTL_PART"


def marked(instance: str, sessions: Collection[int] = ()) -> list[psutil.Process]:
    """Return the processes of `instance`: those that carry its mark, and their sessions' others.

    `sessions` are sessions that it is known to have had; a pid can be given out again, so of one that no
    marked process is in, only processes with one of Ray's titles count. This process and its ancestors never do.
    """
    mine = _own_family()
    seen: list[tuple[psutil.Process, int, bool]] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid in mine or process.uids().real != os.getuid():
                continue
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            has_mark = process.environ().get(MARK) == instance
            seen.append((process, os.getsid(process.pid), has_mark))
    certain = {session for _, session, has_mark in seen if has_mark}
    mine_too = certain - {os.getsid(pid) for pid in mine if _exists(pid)}
    found = []
    for process, session, has_mark in seen:
        with contextlib.suppress(psutil.Error):
            if has_mark or session in mine_too or (session in sessions and process.name().startswith("ray::")):
                found.append(process)
    return found


def of_session(session: int) -> list[psutil.Process]:
    """Return the living processes of a session that one of our parts leads or led."""
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(psutil.Error, OSError):
            if pid != os.getpid() and os.getsid(pid) == session:
                process = psutil.Process(pid)
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
    return found


def carries(pid: int | None, instance: str) -> bool:
    """Whether a living process `pid` is one of `instance`."""
    if not pid:
        return False
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == instance
    except (psutil.Error, OSError):
        return False


def find_part(instance: str, part: str) -> int | None:
    """Return the pid of the living process of `instance` that was started as `part`; its children do not count."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.uids().real == os.getuid() and process.status() != psutil.STATUS_ZOMBIE:
                carried = process.environ()
                if (
                    carried.get(MARK) == instance
                    and carried.get(PART) == part
                    and os.getsid(process.pid) == process.pid
                ):
                    return int(process.pid)
    return None


def end(find: Callable[[], Iterable[psutil.Process]], grace: float) -> list[str]:
    """Ask what `find` returns to stop, kill what is left after `grace` seconds, and what appears meanwhile.

    Return the names of the processes ended. Bounded: a few seconds past the grace.
    """
    names: list[str] = []
    processes = list(find())
    for process in processes:
        with contextlib.suppress(psutil.Error):
            names.append(process.name())
            process.terminate()
    _gone(processes, grace)
    for _ in range(20):
        processes = list(find())
        if not processes:
            break
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.kill()
        _gone(processes, 0.5)
    return names


def _gone(processes: list[psutil.Process], seconds: float) -> None:
    """Wait until all are gone, zombies counted as gone; at most `seconds`."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not any(_alive(process) for process in processes):
            return
        time.sleep(0.05)


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _own_family() -> set[int]:
    me = psutil.Process()
    return {me.pid, *(parent.pid for parent in me.parents())}


def _exists(pid: int) -> bool:
    try:
        os.getsid(pid)
    except OSError:
        return False
    return True
