"""Run a program that is told to stop when its parent dies: `leash.py PARENT PROGRAM ARGUMENT...`.

Started by file, isolated and without site packages, so that it costs some ten milliseconds. It
becomes the program (exec), so the pid stays. Linux only has the means (PR_SET_PDEATHSIG);
elsewhere the program just runs, and the next `up` ends what a killed supervisor left.
"""

from __future__ import annotations

import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, argv: list[str]) -> None:
    """Tie this process to `parent`, then become `argv`."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it died before the tie was made
            return
    os.execv(argv[0], argv)  # noqa: S606 - a list, and no shell, is the point


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
