"""Which folders of the machine a path lies in, by its words alone."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable


def is_within(path: str, folders: Iterable[str]) -> bool:
    """Tell whether a plain, absolute path is one of `folders` or below one; whoever follows links must ask again."""
    return any(
        posixpath.commonpath([path, folder]) == posixpath.normpath(folder) for folder in folders if folder[:1] == "/"
    )
