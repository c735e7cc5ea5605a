"""How a command ended, told as it is: an exit code, a signal, or memory that ran out."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from genplatform.domain.retry import Cause
from genworkers.commanding.child import NotStarted
from genworkers.failures import LONGEST_MESSAGE, Failure

# As shells say that what they ran was ended by a signal: 128 and its number.
OF_A_SHELL = 128
MOST_LAST_LINES = 10
LONGEST_LAST_LINES = 1_500
IN_THE_LOG = "What it printed is in its log (genctl logs)."

_CODES = {
    126: "It names something that cannot be executed: see that the file is executable.",
    127: "A shell says so of a program that it does not find: give its full path, or put its folder into env: PATH.",
}


class OutOfMemory:
    """Tells whether the kernel ended a process for want of memory since this was made (Linux, cgroup v2)."""

    def __init__(self) -> None:
        self._before = _kills()

    def happened(self) -> bool:
        """Tell whether it did, in the group of processes that this one is in."""
        return _kills() > self._before


def refused(error: NotStarted, program: str) -> Failure:
    """Say why a program could not be started."""
    match error.number:
        case errno.ENOENT:
            message, hint = (
                f"There is no program {program!r} here.",
                "Give its full path, or put its folder into env: PATH.",
            )
        case errno.EACCES:
            message, hint = f"{program!r} may not be executed.", "Make it executable, or run it by its interpreter."
        case errno.ENOEXEC:
            message, hint = f"{program!r} is no program.", "Begin it with a line such as #!/bin/sh."
        case errno.E2BIG:
            message, hint = "Its words and variables are too long for this system.", "Put them into a file."
        case 0:
            return Failure(
                Cause.START_FAILED, "Its guard could not be started.", "See the node's log.", "", expected=True
            )
        case _:
            message, hint = f"{program!r} cannot be run: {error}.", IN_THE_LOG
    return Failure(Cause.USER_ERROR, message, hint, "", expected=True)


def failure(code: int | None, last: Sequence[str], *, out_of_memory: bool) -> Failure:
    """Say how a command that did not end with 0 ended; `last` are the last lines of its standard error."""
    if code is None:
        message = "What watches over the command was killed, and the command with it."
        return Failure(
            Cause.NODE_LOST, message, "It goes on from what lies in its checkpoint folder.", "", expected=True
        )
    number = -code if code < 0 else code - OF_A_SHELL if code > OF_A_SHELL else 0
    name = _signal(number)
    if number == signal.SIGKILL and out_of_memory:
        message = (
            f"Memory ran out: the kernel ended {'it' if code < 0 else 'a process that it ran'} (signal 9, SIGKILL)."
        )
        return Failure(Cause.OUT_OF_MEMORY, message, "Let it use less, or give it a larger machine.", "", expected=True)
    if code < 0:
        message = f"It was killed by signal {number} ({name})."
    elif name:
        message = f"It exited with code {code}, as a shell does whose program was killed by signal {number} ({name})."
    else:
        message = f"It exited with code {code}."
    hint = _CODES.get(code, IN_THE_LOG)
    if number == signal.SIGKILL:
        hint = f"Nothing of the platform did that. The kernel does when memory runs out. {IN_THE_LOG}"
    return Failure(Cause.USER_ERROR, with_last(message, last), hint, "", expected=True)


def with_last(message: str, last: Sequence[str]) -> str:
    """Return a message with the last lines of what failed."""
    said = "\n".join(last[-MOST_LAST_LINES:])[-LONGEST_LAST_LINES:].strip()
    return (f"{message} Its last words:\n{said}" if said else message)[:LONGEST_MESSAGE]


def not_built(failure: Failure, last: Sequence[str]) -> Failure:
    """Return the failure of an environment that could not be built, with pip's last lines."""
    return replace(failure, message=with_last(failure.message, last))


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return ""


def _kills() -> int:
    """Return how many processes of this group the kernel ended for want of memory; 0 where nobody counts."""
    try:
        group = Path("/proc/self/cgroup").read_text().rpartition("::")[2].strip()
        events = Path("/sys/fs/cgroup", group.lstrip(os.sep), "memory.events").read_text()
    except OSError:
        return 0
    found = [line.split()[1] for line in events.splitlines() if line.startswith("oom_kill ")]
    return int(found[0]) if found else 0
