"""A small disk for tests: a file system of a few megabytes in memory, that can be full, or read-only for a while.

`SmallDisk` starts this file as a child that mounts it, obeys `ro` and `rw` on its standard input,
and unmounts it when that input ends: when the tests say so and also when their process dies,
however it dies. Mounting is Linux's and takes root; `NotPermitted` says that it is not to be had here.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Self

STOP_SECONDS = 20.0
BLOCK = 4096


class NotPermitted(Exception):
    """This machine lets nobody mount, or not this user."""


class SmallDisk:
    """One disk, mounted at `folder`."""

    def __init__(self, megabytes: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="gd-"))
        self._megabytes = megabytes
        self._owner: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._owner = subprocess.Popen(
            [sys.executable, __file__, str(self.folder), str(self._megabytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # a Ctrl-C at the terminal is the tests' to handle, and theirs alone
        )
        try:
            self._obeyed()
        except NotPermitted:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._owner is not None:
            owner, self._owner = self._owner, None
            owner.communicate(timeout=STOP_SECONDS)

    def fill(self) -> None:
        """Use up what is free, to the last block."""
        with (self.folder / "filler").open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(BLOCK))
            except OSError:
                return

    def free(self) -> None:
        """Give back what `fill` used."""
        (self.folder / "filler").unlink()

    def remount(self, how: str) -> None:
        """Let it be `ro` or `rw`; for `ro` nobody may have a file there open for writing."""
        assert self._owner is not None
        assert self._owner.stdin is not None
        self._owner.stdin.write(how + "\n")
        self._owner.stdin.flush()
        self._obeyed()

    def _obeyed(self) -> None:
        assert self._owner is not None
        assert self._owner.stdout is not None
        said = self._owner.stdout.readline().strip()
        if said != "done":
            raise NotPermitted(said)


def _own(folder: Path, megabytes: int) -> None:
    """Mount a disk at `folder`, and keep it until standard input ends."""
    mount, unmount = shutil.which("mount"), shutil.which("umount")
    if sys.platform != "linux" or mount is None or unmount is None or os.geteuid() != 0:
        print("a disk is mounted on Linux, by root, with mount and umount", flush=True)
        return
    made = subprocess.run(
        [mount, "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        print("mount is not permitted:", made.stderr.strip().replace("\n", " "), flush=True)
        return
    try:
        print("done", flush=True)
        for how in sys.stdin:
            subprocess.run([mount, "-o", f"remount,{how.strip()}", str(folder)], check=True)
            print("done", flush=True)
    finally:
        # Lazily: it is gone from here at once, and its memory with the last process that has a file of it open.
        subprocess.run([unmount, "-l", str(folder)], check=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    place = Path(sys.argv[1])
    try:
        _own(place, int(sys.argv[2]))
    finally:
        place.rmdir()
