"""Run a command and let nothing of it outlive whoever asked: `guard.py STATUS_FD COMMAND ARGUMENT...`.

Started by file, isolated and without site packages. It detaches from its parent, so that whoever
ends the parent's children does not end it, and starts the command as a session of its own. On
STATUS_FD it writes `started PID`, `refused ERRNO` or `ended CODE` (as subprocess counts: a signal
is negative), one a line. Its standard input is its parent's hand: `T` there sends SIGTERM to the
command's group; its end, which also comes when the parent is killed, sends SIGKILL to all of the
command's processes. So does the command's own end: what it left running goes with it.

On Linux these are its descendants, whatever session they moved to, because the guard is their
subreaper; and the command itself dies with a guard that is killed. Elsewhere they are its group.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
MOST_ROUNDS = 1000
IS_LINUX = sys.platform == "linux"


def _prctl(option: int, value: int) -> None:
    if IS_LINUX:
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def main(status: int, argv: list[str]) -> None:
    """Detach, run the command, tell how it ended."""
    if os.fork():
        os._exit(0)
    os.setsid()
    os.set_inheritable(status, False)
    ended, tell_ended = os.pipe()
    os.set_blocking(tell_ended, False)
    signal.set_wakeup_fd(tell_ended, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    # Whoever asks the guard to go asks the same of the command.
    asked = [False]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: asked.__setitem__(0, True))
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    guard = os.getpid()
    try:
        command = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=lambda: _tie(guard),  # noqa: PLW1509 - this process has one thread
        )
    except OSError as error:
        _tell(status, f"refused {error.errno}")
        return
    _tell(status, f"started {command.pid}")
    code = _watch(command, ended, asked)
    _end_all(command.pid)
    _tell(status, f"ended {code}")


def _tie(guard: int) -> None:
    """In the command's process, before it becomes the command: die with the guard."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if IS_LINUX and os.getppid() != guard:
        os._exit(255)


def _watch(command: subprocess.Popen[bytes], ended: int, asked: list[bool]) -> int:
    """Do what the parent's hand says until the command ends; return its code."""
    hand = 0
    watched = [hand, ended]
    while (code := _ended(command)) is None:
        ready, _, _ = select.select(watched, [], [], 1.0)
        if ended in ready:
            os.read(ended, 4096)
        if hand in ready:
            said = os.read(hand, 1)
            if said == b"T":
                _signal_group(command.pid, signal.SIGTERM)
            elif not said:
                watched.remove(hand)
                _signal_group(command.pid, signal.SIGKILL)
        if asked[0]:
            _signal_group(command.pid, signal.SIGKILL)
    return code


def _ended(command: subprocess.Popen[bytes]) -> int | None:
    """Bury what ended, the command's orphans too; return the command's code once it has one."""
    with contextlib.suppress(ChildProcessError):
        while command.returncode is None:
            pid, how = os.waitpid(-1, os.WNOHANG)
            if pid == command.pid:
                command.returncode = os.waitstatus_to_exitcode(how)
            elif not pid:
                break
    return command.returncode


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _end_all(group: int) -> None:
    """End what is left of the command's processes; whatever they start meanwhile goes in the next round."""
    _signal_group(group, signal.SIGKILL)
    for _ in range(MOST_ROUNDS):
        for child in _children():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _children() -> list[int]:
    """Return this process's children, among them the orphans of the command (Linux only)."""
    found = []
    own = str(os.getpid())
    for name in os.listdir("/proc") if IS_LINUX else ():
        with contextlib.suppress(OSError, IndexError):
            if name.isdecimal():
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as stat:
                    # The name in brackets may hold anything; the parent is the second word behind it.
                    if stat.read().rpartition(")")[2].split()[1] == own:
                        found.append(int(name))
    return found


def _tell(status: int, line: str) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more
        os.write(status, f"{line}\n".encode())


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
