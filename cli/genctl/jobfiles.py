"""Job files on their way to the platform: read, bounded, known by their type, and sent in pieces."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from genplatform.errors import BadRequest, TooLarge

JSON = "application/json"
YAML = "application/yaml"
LINES = "application/x-ndjson"
BY_SUFFIX = {".json": JSON, ".jsonl": LINES, ".ndjson": LINES}

LONGEST_YAML = 1 << 20
LONGEST_JSON = 64 << 20
PIECE = 1 << 18

Document = Mapping[str, Any]
Spec = Document | Sequence[Document] | Path | str | bytes
# Told of an upload: how many bytes have been sent, and of how many.
Sent = Callable[[int, int], None]


class Upload:
    """A body that is sent in pieces and tells how far it is; from the start again each time it is sent."""

    def __init__(self, data: bytes, sent: Sent | None = None) -> None:
        self._data = data
        self._sent = sent

    def __len__(self) -> int:
        return len(self._data)

    def __iter__(self) -> Iterator[bytes]:
        view = memoryview(self._data)
        for start in range(0, len(view), PIECE):
            self._tell(start)
            yield bytes(view[start : start + PIECE])
        self._tell(len(view))

    def _tell(self, so_far: int) -> None:
        if self._sent is not None:
            self._sent(so_far, len(self._data))


def read_file(path: Path) -> tuple[bytes, str]:
    """Return a job file's bytes and their type; one that is too long is refused before it is read whole."""
    media_type = BY_SUFFIX.get(path.suffix, YAML)
    try:
        with path.open("rb") as file:
            data = file.read(_longest(media_type) + 1)
            size = path.stat().st_size
    except FileNotFoundError:
        raise BadRequest(f"There is no job file {path}.", "Check the path, or give `-` to read stdin.") from None
    except OSError as error:
        raise BadRequest(
            f"The job file {path} cannot be read: {error.strerror}.", "Give a file that you may read."
        ) from error
    return check_length(data, media_type, str(path), size), media_type


def read_stream(read: Callable[[int], bytes]) -> tuple[bytes, str]:
    """Return what stands on standard input, and its type, told by how it looks."""
    data = read(LONGEST_JSON + 1)
    media_type = look(data)
    return check_length(data, media_type, "on stdin"), media_type


def check_length(data: bytes, media_type: str, source: str, size: int = 0) -> bytes:
    """Return `data`, or raise TooLarge when it is longer than such a file may be (`size`: how long it really is)."""
    longest = _longest(media_type)
    if len(data) > longest:
        known = f"{size:,}" if size > longest else f"more than {longest:,}"
        hint = "A job file says what to do; data and prompts belong in files of their own that it names."
        if media_type == YAML:
            hint = f"Very many jobs go as JSON, or as JSON Lines (.jsonl): {LONGEST_JSON:,} bytes. {hint}"
        raise TooLarge(f"The job file {source} has {known} bytes; {longest:,} are allowed.", hint)
    return data


def look(data: bytes) -> str:
    """Return the type that a job file without a name has."""
    if not data.lstrip().startswith((b"{", b"[")):
        return YAML
    if _is_json(data):
        return JSON
    first = [line for line in data[: 1 << 20].splitlines() if line.strip()][:2]
    return LINES if len(first) == 2 and all(_is_json(line) for line in first) else YAML


def as_body(spec: Spec) -> tuple[bytes, str]:
    """Return what a spec travels as: its bytes and their type."""
    match spec:
        case Path():
            return read_file(spec)
        case str() | bytes():
            data = spec.encode() if isinstance(spec, str) else spec
            return check_length(data, YAML, "given"), YAML
        case Mapping():
            return check_length(_dumps(spec), JSON, "given"), JSON
    # Several documents travel as a YAML stream, of which each JSON document is one.
    stream = b"\n---\n".join(_dumps(document) for document in spec)
    return (stream, YAML) if len(stream) <= LONGEST_YAML else as_lines(spec)


def as_lines(documents: Iterable[Document]) -> tuple[bytes, str]:
    """Return documents as JSON Lines, and that type."""
    return check_length(b"\n".join(map(_dumps, documents)), LINES, "given"), LINES


def _longest(media_type: str) -> int:
    return LONGEST_YAML if media_type == YAML else LONGEST_JSON


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def _dumps(document: Document) -> bytes:
    return json.dumps(dict(document), ensure_ascii=False, allow_nan=False).encode()
