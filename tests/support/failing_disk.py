"""Submits on a disk whose Nth sync or write fails, by strace: which were acknowledged, which were refused.

strace makes a system call fail at one count, the same for each process. This file, run under it, imports
the platform once and forks a process for every place to be hit, which first makes so many calls on a
file of no interest that the failing one comes at its place: so one strace serves all places.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SUBMITS = 4
TRIES = 3
ENDS = ("closed", "killed")


@dataclass(frozen=True)
class Played:
    """What one process saw: jobs acknowledged by name, refusals as they were said, and the file it left."""

    place: int
    end: str
    acknowledged: dict[str, str]
    refused: list[str]
    database: Path


def why_not(call: str = "fdatasync") -> str:
    """Return why strace cannot be used here; empty when it can."""
    strace = shutil.which("strace")
    if strace is None:
        return "strace is not installed"
    tried = subprocess.run([*_strace(strace, call, "EIO", "1"), "true"], capture_output=True, text=True, check=False)
    return "" if tried.returncode == 0 else f"strace cannot trace here: {tried.stderr.strip()[:200]}"


def play(folder: Path, migrated: Path, call: str, error: str, places: Sequence[int], on: str = "") -> list[Played]:
    """Submit with the call of each place failing (`on` being `+`: and every later one); return what was seen."""
    strace = shutil.which("strace")
    assert strace is not None
    orders = [
        {"place": place, "end": end, "folder": str(folder / f"{place}-{end}")} for place in places for end in ENDS
    ]
    last = max(places)
    subprocess.run(
        [*_strace(strace, call, error, f"{last}{on}"), sys.executable, __file__, call, str(last), str(migrated)],
        input="".join(json.dumps(order) + "\n" for order in orders),
        text=True,
        check=True,
        timeout=100,
    )
    return [_seen(order["place"], order["end"], Path(order["folder"])) for order in orders]


def _strace(strace: str, call: str, error: str, when: str) -> list[str]:
    words = ["-f", "--seccomp-bpf", "-qqq", "-o", os.devnull, "-e", f"trace={call}"]
    return [strace, *words, "-e", f"inject={call}:error={error}:when={when}", "--"]


def _seen(place: int, end: str, folder: Path) -> Played:
    acknowledged, refused = {}, []
    for line in (folder / "said").read_text().splitlines():
        name, job_id, message = json.loads(line)
        if job_id:
            assert name not in acknowledged
            acknowledged[name] = job_id
        else:
            refused.append(message)
    return Played(place, end, acknowledged, refused, folder / "catalog.db")


def _submit(folder: Path, end: str) -> None:
    """Submit jobs, each tried again with its key; say what came of each try."""
    from small_platform import SmallPlatform, train

    from genplatform.errors import Unavailable

    said = os.open(folder / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    platform = SmallPlatform(f"sqlite:///{folder / 'catalog.db'}", folder)
    for number in range(SUBMITS):
        name = f"j{number}"
        for _ in range(TRIES):
            try:
                line = [name, *platform.submit(train(name), key=name), ""]
            except Unavailable as error:
                line = [name, "", f"{error.message} {error.hint}"]
            os.write(said, json.dumps(line).encode() + b"\n")
            if line[1]:
                break
    if end == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    with contextlib.suppress(Unavailable):
        platform.close()


def _main(call: str, last: int, migrated: str) -> None:
    import small_platform  # noqa: F401 - forked with every process, so that none has to

    idle = os.open(os.devnull, os.O_WRONLY)
    calls = {"fdatasync": lambda: os.fdatasync(idle), "pwrite64": lambda: os.pwrite(idle, b"", 0)}
    for line in sys.stdin:
        order = json.loads(line)
        folder = Path(order["folder"])
        folder.mkdir(parents=True)
        shutil.copy(migrated, folder / "catalog.db")
        pid = os.fork()
        if pid == 0:
            for _ in range(last - order["place"]):
                with contextlib.suppress(OSError):  # /dev/null cannot be synced, and the call counts all the same
                    calls[call]()
            _submit(folder, order["end"])
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        expected = -signal.SIGKILL if order["end"] == "killed" else 0
        assert os.waitstatus_to_exitcode(status) == expected, (order, status)


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
