"""Documents of text: from text files, folders of them, and JSONL; read once, kept on disk, addressed by index.

A document is what is never parted: neither by the split nor, where it is short enough, by a
model's context. Several files are a document each; one file is cut where it has blank lines,
unless `data.documents` says otherwise.
"""

from __future__ import annotations

import gzip
import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import PurePosixPath
from typing import IO, Any, cast

import numpy as np
from torch import Tensor

from genplatform.errors import BadRequest
from genworkers.data.bounds import BadItem, Skipped
from genworkers.data.dataset import BY_CONTENT, BY_ITEM, Dataset, content_of
from genworkers.data.files import BROKEN, Files
from genworkers.data.spans import Spans
from genworkers.recipes.base import TEXT
from genworkers.texts import utf8_rows

SUFFIXES = (".txt", ".text", ".md", ".rst")
JSON_SUFFIXES = (".jsonl", ".ndjson")
FIELDS = ("text", "content", "document")
FILE, FOLDER = "file", "folder"
BY_FILE, BY_PARAGRAPH, BY_LINE = "file", "paragraph", "line"
MOST_DOCUMENT_BYTES = 64 << 20


def is_text(name: str) -> bool:
    """Tell whether a file's name says that it is plain text."""
    return name.lower().removesuffix(".gz").endswith(SUFFIXES)


def is_jsonl(name: str) -> bool:
    """Tell whether a file's name says that each line of it is a JSON object."""
    return name.lower().removesuffix(".gz").endswith(JSON_SUFFIXES)


class Documents(Dataset):
    """Documents on disk, as UTF-8; a batch holds no more of them than it asks for."""

    modality = TEXT
    shape = None
    labels = None

    def __init__(self, name: str, kept: Spans, skipped: Skipped, files: Sequence[str], file_of: Sequence[int]) -> None:
        self.name, self.skipped = name, skipped
        self.digest = kept.finish()
        self.notes = (skipped.note(),) if skipped.count else ()
        self._kept, self._files, self._file_of = kept, files, file_of

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size(self) -> int:
        """The bytes of all documents."""
        return self._kept.size

    def texts(self, indices: Iterable[int] | None = None) -> Iterator[str]:
        """Yield those documents in that order, or all; each is read when it is asked for."""
        for index in range(len(self)) if indices is None else indices:
            yield self._kept.take(int(index)).decode()

    def rows(self, indices: Tensor) -> dict[str, Tensor]:
        """Return those documents as rows of bytes, filled up with -1."""
        return {"x": utf8_rows([self._kept.take(index) for index in indices.tolist()])}

    def groups(self, by: str) -> Sequence[str] | np.ndarray[Any, Any]:
        """Return the file or folder that each document is of, or a digest of its content."""
        if by == BY_CONTENT:
            return self.contents()
        if by in {FILE, FOLDER}:
            names = self._files if by == FILE else [str(PurePosixPath(name).parent) for name in self._files]
            return [names[number] for number in self._file_of]
        possible = ", ".join((BY_ITEM, BY_CONTENT, FILE, FOLDER))
        raise BadRequest(f"The data of {self.name} cannot be split by {by!r}.", f"Possible for it: {possible}.")

    def contents(self) -> np.ndarray[Any, Any]:
        """Return 64 bits of each document's digest: equal ones have equal ones."""
        found = (content_of(np.frombuffer(self._kept.take(index), np.uint8)) for index in range(len(self)))
        return np.fromiter(found, np.uint64, len(self))


class Collecting:
    """Documents on their way to disk, and those that are left out."""

    def __init__(self, name: str, skip: int | float | None) -> None:
        # How many there are is known at the end: a share is held against all of them only then.
        self._limit = skip
        self.skipped = Skipped(name, None if isinstance(skip, float) else skip, 0)
        self._kept, self._files, self._file_of = Spans(), list[str](), array("L")

    @property
    def seen(self) -> int:
        """How many documents there were, those that were left out among them."""
        return len(self._kept) + self.skipped.count

    def begin(self, name: str) -> None:
        """Say of which file the next documents are."""
        self._files.append(name)

    def add(self, text: str) -> None:
        """Keep a document; raises BadItem for one that is none."""
        if not text or text.isspace():
            raise BadItem("is empty")
        if "\0" in text:
            raise BadItem("is not text: it holds a NUL")
        try:
            data = text.encode()
        except UnicodeEncodeError:
            raise BadItem("holds half of a surrogate pair, which is no character") from None
        self._kept.append(data)
        self._file_of.append(max(0, len(self._files) - 1))

    def made(self) -> Documents:
        """Return the data set; raises BadRequest when nothing is in it, or too much was left out."""
        self.skipped.total = self.seen
        self.skipped.limit = self._limit
        self.skipped.check()
        if not len(self._kept):
            raise BadRequest(
                f"There is not one document of text in {self.skipped.name}.",
                "Check data.source, and data.format if it is not told by names.",
            )
        return Documents(self.skipped.name, self._kept, self.skipped, self._files or [""], self._file_of)


def read_text(files: Files, options: Mapping[str, Any]) -> Documents:
    """Read plain text: each file a document, or cut as `documents` says."""
    names = [name for name in files.names if is_text(name)] or files.names
    rule = options.get("documents") or (BY_PARAGRAPH if len(names) == 1 else BY_FILE)
    collecting = _begun(files, options, is_text)
    return _read(files, names, collecting, lambda lines, name: _add_cut(lines, rule, name, collecting))


def read_jsonl(files: Files, options: Mapping[str, Any]) -> Documents:
    """Read JSONL: each line an object, whose field `text`, or the one that `column` names, is a document."""
    names = [name for name in files.names if is_jsonl(name)] or files.names
    collecting, column = _begun(files, options, is_jsonl), options.get("column")

    def add(lines: Iterator[bytes], name: str) -> None:
        for number, line in enumerate(lines, 1):
            if not line.isspace():
                _try(f"{name}:{number}", collecting, partial(_field, line, column))

    return _read(files, names, collecting, add)


def _read(files: Files, names: Sequence[str], collecting: Collecting, add: Callable[..., None]) -> Documents:
    for name in names:
        collecting.begin(name)
        before = collecting.seen
        try:
            with _lines(files, name) as lines:
                add(lines, name)
            if collecting.seen == before:
                raise BadItem("is empty")
        except BadItem as error:
            collecting.skipped.add(name, str(error))
    return collecting.made()


def _begun(files: Files, options: Mapping[str, Any], is_ours: Callable[[str], bool]) -> Collecting:
    collecting = Collecting(files.title, options.get("skip", 0))
    for one in files.refused:
        if one.is_folder or is_ours(one.name):
            collecting.skipped.add(one.name, one.why)
    return collecting


@contextmanager
def _lines(files: Files, name: str) -> Iterator[Iterator[bytes]]:
    """Open a file's lines, ends and all; what a broken or endless one raises is a bad item."""
    try:
        with files.open(name) as file:
            yield _bounded(cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if name.endswith(".gz") else file)
    except BROKEN as error:
        raise BadItem(f"cannot be read: {error}") from error


def _bounded(file: IO[bytes]) -> Iterator[bytes]:
    while line := file.readline(MOST_DOCUMENT_BYTES + 1):
        if len(line) > MOST_DOCUMENT_BYTES:
            raise BadItem(f"has a line of more than {MOST_DOCUMENT_BYTES:,} bytes")
        yield line


def _add_cut(lines: Iterator[bytes], rule: str | int, name: str, collecting: Collecting) -> None:
    """Cut a file's lines into documents: by lines, by blank lines (after so many bytes, or any), or not at all."""
    if rule == BY_FILE:
        _try(name, collecting, partial(_decoded, list(_no_longer(lines))))
        return
    least = rule if isinstance(rule, int) else 0
    pieces: list[bytes] = []
    size, first = 0, 1
    for number, line in enumerate(lines, 1):
        if not size and line.isspace():
            continue
        first, size = first if size else number, size + len(line)
        pieces.append(line)
        if rule == BY_LINE or (line.isspace() and size >= least) or size > MOST_DOCUMENT_BYTES:
            _try(f"{name}:{first}", collecting, partial(_decoded, pieces))
            pieces, size = [], 0
    if pieces:
        _try(f"{name}:{first}", collecting, partial(_decoded, pieces))


def _no_longer(lines: Iterator[bytes]) -> Iterator[bytes]:
    size = 0
    for line in lines:
        size += len(line)
        if size > MOST_DOCUMENT_BYTES:
            raise BadItem(f"has more than {MOST_DOCUMENT_BYTES:,} bytes: say data.documents: {BY_PARAGRAPH}")
        yield line


def _try(where: str, collecting: Collecting, text: Callable[[], str]) -> None:
    try:
        collecting.add(text())
    except BadItem as error:
        collecting.skipped.add(where, str(error))


def _decoded(lines: list[bytes]) -> str:
    end = len(lines)
    while end and lines[end - 1].isspace():
        end -= 1
    try:
        text = b"".join(lines[:end]).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadItem(f"is not UTF-8: {error.reason} at its byte {error.start:,}") from None
    return text.replace("\r\n", "\n").strip("\n")


def _field(line: bytes, asked: str | None) -> str:
    try:
        told = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadItem(f"is not JSON: {error}") from None
    if not isinstance(told, dict):
        raise BadItem("is no JSON object")
    field = asked or next((one for one in FIELDS if one in told), FIELDS[0])
    if not isinstance(told.get(field), str):
        raise BadItem(f"has no text in its field {field!r}")
    return cast("str", told[field])
