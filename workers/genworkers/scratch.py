"""Folders for what is worked on, in the node's temporary folder; those of killed processes are removed.

Each is locked by the process that has it, and the lock goes with that process however it ends:
what is not locked is nobody's. Process ids would not tell, for containers may share the folder.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)

_PREFIX = "genctl-scratch-"


@contextmanager
def scratch(kind: str) -> Iterator[Path]:
    """Make a folder that is removed in the end; `kind` is part of its name."""
    while True:
        with tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{kind}-", ignore_cleanup_errors=True) as name:
            handle = _lock(Path(name), fcntl.LOCK_SH)
            if handle is None and not Path(name).exists():  # somebody swept before it was locked
                continue
            try:
                yield Path(name)
                return
            finally:
                if handle is not None:
                    os.close(handle)


def sweep() -> None:
    """Remove the folders that this user's killed processes left behind."""
    try:
        left = list(Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"))
    except OSError:  # a node without a temporary folder has nothing to sweep
        return
    for folder in left:
        handle = _lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if handle is None:
            continue
        try:
            log.info("scratch_swept folder=%s", folder.name)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(handle)


def _lock(folder: Path, how: int) -> int | None:
    """Return what holds the lock until it is closed; None when the folder is locked, gone, or another user's."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(handle, how)
        if os.fstat(handle).st_uid == os.getuid() and folder.exists():
            return handle
    except OSError:
        pass
    os.close(handle)
    return None
