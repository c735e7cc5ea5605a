"""Which folders of the machine a path lies in, by its words alone."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

WILD = "*?["


def is_within(path: str, folders: Iterable[str]) -> bool:
    """Tell whether a plain, absolute path is one of `folders` or below one; whoever follows links must ask again."""
    return any(
        posixpath.commonpath([path, folder]) == posixpath.normpath(folder) for folder in folders if folder[:1] == "/"
    )


def is_pattern(path: str) -> bool:
    """Tell whether a path stands for all that match it."""
    return any(mark in path for mark in WILD)


def fixed_part(path: str) -> str:
    """Return a path up to its first part that is a pattern: all that match lie in it."""
    parts = path.split("/")
    fixed = next((index for index, part in enumerate(parts) if is_pattern(part)), len(parts))
    return "/".join(parts[:fixed]) or "/"
