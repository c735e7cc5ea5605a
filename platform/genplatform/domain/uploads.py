"""Uploads: bytes that a client sent ahead, known by their digest, and how a job file names them."""

from __future__ import annotations

import re
from typing import NamedTuple

SHA256_PATTERN = "[0-9a-f]{64}"
UPLOAD_PATTERN = f"^upload:{SHA256_PATTERN}/[A-Za-z0-9][A-Za-z0-9._+=@,-]{{0,199}}$"
_UPLOAD = re.compile(UPLOAD_PATTERN[1:-1])
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._+=@,-]+")


class Upload(NamedTuple):
    """A blob by its SHA-256, and the name that the file or folder had, by whose ending it is read."""

    digest: str
    name: str

    def __str__(self) -> str:
        return f"upload:{self.digest}/{self.name}"


def is_upload(text: str) -> bool:
    """Tell whether a text names an upload."""
    return bool(_UPLOAD.fullmatch(text))


def parse(text: str) -> Upload:
    """Return the upload that a text names; raises ValueError for one that names none."""
    if not is_upload(text):
        raise ValueError(f"{text!r} names no upload")
    digest, _, name = text.removeprefix("upload:").partition("/")
    return Upload(digest, name)


def plain_name(name: str) -> str:
    """Return a file's name made of the letters that an upload's may have, its ending kept."""
    return _NOT_IN_NAMES.sub("-", name)[-200:].lstrip("._+=@,-") or "data"
