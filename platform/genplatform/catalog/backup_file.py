"""The file of a backup: gzip around JSON lines, and nothing in it is believed before all of it has been read.

    {"format": ..., "revision": ..., "tables": [{"name", "columns", "rows"}, ...], ...}     the header
    [1, "default", ...]                                                                     a row, table by table
    {"rows": ..., "sha256": ...}                                                            the end

The end holds the SHA-256 of every byte before it. The same file serves both databases.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from genplatform.errors import BadRequest

FORMAT = "genctl-record/1"
LEVEL = 4
# Far longer than any row: a job's spec has a megabyte at most.
LONGEST_LINE = 64 << 20

Row = list[Any]


@dataclass(frozen=True)
class Part:
    """One table: its name, its columns in order, and how many rows follow."""

    name: str
    columns: tuple[str, ...]
    rows: int


@dataclass(frozen=True)
class Header:
    """What a backup is of: the revision of its tables, when it was made, and which record it was."""

    revision: str
    created_at: float
    incarnation: str
    version: str
    tables: tuple[Part, ...]

    @property
    def rows(self) -> dict[str, int]:
        """How many rows each table has."""
        return {part.name: part.rows for part in self.tables}


class Writer:
    """Writes one backup into an open file: the header at once, then rows, then the end."""

    def __init__(self, out: BinaryIO, header: Header) -> None:
        self._digest = hashlib.sha256()
        self._rows = 0
        self._out = out
        # As gzip, with neither a name nor a time in it: the same record makes the same bytes.
        self._packed = zlib.compressobj(LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
        self._line({"format": FORMAT} | asdict(header))

    def row(self, values: Row) -> None:
        """Add one row."""
        self._rows += 1
        self._line(values)

    def end(self) -> None:
        """Complete the file."""
        self._line({"rows": self._rows, "sha256": self._digest.hexdigest()})
        self._out.write(self._packed.flush())

    def _line(self, value: Mapping[str, Any] | Row) -> None:
        line = json.dumps(value, separators=(",", ":")).encode() + b"\n"
        self._digest.update(line)
        self._out.write(self._packed.compress(line))


def read(path: Path) -> tuple[Header, Iterator[tuple[Part, Row]]]:
    """Return a backup's header, and its rows as they are read; raises BadRequest for what is no backup.

    The rows end without an error only when the file is whole: what was made of them before that
    must be undone.
    """
    lines = _lines(path)
    first = next(lines, b"")
    return _header(path, first), _rows(path, first, lines)


def check(path: Path) -> Header:
    """Read a backup to its end and return its header; raises BadRequest when it is not whole."""
    header, rows = read(path)
    for _ in rows:
        pass
    return header


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as raw, gzip.GzipFile(fileobj=raw) as unpacked:
            while line := unpacked.readline(LONGEST_LINE):
                if not line.endswith(b"\n"):
                    raise _not_whole(path, "it breaks off")
                yield line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _not_whole(path, str(error)) from error
    except OSError as error:
        raise BadRequest(
            f"The file {path} cannot be read: {error.strerror}.", "Give a backup that is there."
        ) from error


def _header(path: Path, line: bytes) -> Header:
    try:
        said = json.loads(line)
        made_by = said.pop("format")
        tables = tuple(Part(t["name"], tuple(t["columns"]), int(t["rows"])) for t in said.pop("tables"))
        header = Header(**said, tables=tables) if made_by == FORMAT else None
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise BadRequest(f"{path} is no backup of genctl.", "`genctl db backup FILE` makes one.") from error
    if header is None:
        raise BadRequest(
            f"{path} is a backup of the format {made_by!r}, which this genctl does not read.",
            "Restore it with the genctl that made it, or a newer one.",
        )
    return header


def _rows(path: Path, first: bytes, lines: Iterator[bytes]) -> Iterator[tuple[Part, Row]]:
    header = _header(path, first)
    digest = hashlib.sha256(first)
    for part in header.tables:
        for _ in range(part.rows):
            line = next(lines, b"")
            digest.update(line)
            values = _parsed(path, line)
            if not isinstance(values, list) or len(values) != len(part.columns):
                raise _not_whole(path, f"a row of {part.name} is none")
            yield part, values
    end = _parsed(path, next(lines, b""))
    if end != {"rows": sum(part.rows for part in header.tables), "sha256": digest.hexdigest()}:
        raise _not_whole(path, "its digest is not the one it ends with")
    if next(lines, b""):
        raise _not_whole(path, "something follows its end")


def _parsed(path: Path, line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _not_whole(path, "a line of it is no JSON" if line else "it breaks off") from error


def _not_whole(path: Path, why: str) -> BadRequest:
    return BadRequest(f"{path} is not a whole backup: {why}.", "Take another one; nothing was changed.")
