"""The parts' logs: kept within bounds while the parts write to them, and read from the end."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections import deque
from pathlib import Path

LOG_BYTES = 16_000_000
TAIL_LINES = 8


def keep_short(log: Path, longest: int = LOG_BYTES) -> None:
    """Move what a log past `longest` bytes holds to `NAME.1`, in the place of what was there.

    Copied and emptied, not renamed: the part has the file open and, since it appends, goes on at its new
    beginning. What it says between the two is lost. A log that cannot be copied is emptied all the same.
    """
    with contextlib.suppress(OSError):
        if log.stat().st_size <= longest:
            return
        draft = log.with_name(f".{log.name}.1")
        try:
            shutil.copyfile(log, draft)
            os.replace(draft, log.with_name(f"{log.name}.1"))
        except OSError:
            draft.unlink(missing_ok=True)
        os.truncate(log, 0)


def tail(file: Path, lines: int = TAIL_LINES) -> list[str]:
    """Return the last lines of a log that say something, stripped, each cut to 300 characters."""
    try:
        with open(file, "rb") as log:
            log.seek(max(0, file.stat().st_size - 16_384))
            text = log.read().decode(errors="replace")
    except OSError:
        return []
    said = (line.strip() for line in text.splitlines())
    return list(deque((line[:300] for line in said if line), maxlen=lines))
