"""Read what W&B writes offline: a file in the log format of LevelDB, whose records are protocol buffers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

FILE_HEADER = 7
BLOCK = 32 * 1024
HEADER = 7  # CRC (4), length (2), kind (1)
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(file: Path) -> list[Any]:
    """Return the records of a `.wandb` file, in their order."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at = file.read_bytes(), FILE_HEADER
    found, begun = [], b""
    while at + HEADER <= len(data):
        if BLOCK - at % BLOCK < HEADER:  # no header fits there: the rest of a block is empty
            at += BLOCK - at % BLOCK
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        assert kind in (WHOLE, FIRST, MIDDLE, LAST), (kind, at)
        piece = data[at + HEADER : at + HEADER + length]
        begun = piece if kind in (WHOLE, FIRST) else begun + piece
        if kind in (WHOLE, LAST):
            found.append(Record.FromString(begun))
        at += HEADER + length
    return found
