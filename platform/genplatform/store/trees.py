"""Folders on a local disk: written whole and durable under a staged name, then renamed once."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from genplatform.errors import BadRequest, Conflict
from genplatform.store.digests import Stored, chunks, copy, measure


def regular_files(folder: Path) -> list[str]:
    """Return the relative POSIX paths of all files in `folder`, sorted.

    A link or a device among them is refused: what a tree holds must be its own.
    """
    found = []
    for path in _walk(folder):
        if path.is_symlink() or not path.is_file():
            raise BadRequest(
                f"{path} is not a plain file, so {folder} cannot be stored.",
                "Replace links by the files they name, and remove pipes, sockets and devices.",
            )
        found.append(path.relative_to(folder).as_posix())
    return sorted(found)


def visible_files(folder: Path) -> list[str]:
    """Return the relative POSIX paths of all plain files in `folder`, sorted; links are passed over."""
    return sorted(p.relative_to(folder).as_posix() for p in _walk(folder) if p.is_file() and not p.is_symlink())


def write_file(path: Path, source: BinaryIO, key: str) -> Stored:
    """Write a new file, durable when this returns; the folder's entry for it is not yet."""
    with path.open("xb") as out:
        stored = copy(chunks(source), out.write, key)
        out.flush()
        os.fsync(out.fileno())
    return stored


def fsync_folder(folder: Path) -> None:
    """Make a folder's entries durable."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def make_folders(folder: Path) -> None:
    """Create a folder and its parents; the entries of those that are new are durable when this returns."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        if folder.parent == folder:
            break
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(exist_ok=True)
        fsync_folder(new.parent)


def write_tree(staged: Path, files: Iterable[tuple[str, BinaryIO]], key: str) -> list[Stored]:
    """Write files by their relative paths into the new folder `staged`, durable when this returns."""
    staged.mkdir()
    folders = {staged}
    stored = []
    for name, source in files:
        path = staged / name
        if path.parent not in folders:
            path.parent.mkdir(parents=True, exist_ok=True)
            folders.update(p for p in path.parents if p.is_relative_to(staged))
        stored.append(write_file(path, source, f"{key}/{name}"))
    for folder in folders:
        fsync_folder(folder)
    return stored


def publish_tree(staged: Path, final: Path, stored: list[Stored], key: str) -> list[Stored]:
    """Rename a staged folder to its final name.

    When something with content has that name already, it is kept: the same files with the
    same bytes count as published (the staged copy is removed), anything else is a Conflict.
    """
    try:
        staged.rename(final)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
            raise
        standing = _measure_tree(final, key)
        if standing != sorted(stored, key=lambda s: s.key):
            raise Conflict(
                f"{final} exists already with other content.",
                "A published folder is never changed: write under a new name.",
            ) from error
        discard(staged)
    fsync_folder(final.parent)
    return stored


def discard(path: Path) -> None:
    """Remove a staged file or folder if it is there; what cannot be removed now stays for a sweep."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _measure_tree(folder: Path, key: str) -> list[Stored]:
    found = []
    for name in visible_files(folder):
        with (folder / name).open("rb") as source:
            found.append(measure(source, f"{key}/{name}"))
    return sorted(found, key=lambda s: s.key)


def _walk(folder: Path) -> Iterator[Path]:
    for base, folders, files in os.walk(folder, onerror=_raise):
        yield from (Path(base, name) for name in files)
        # os.walk names a link to a folder among the folders, and does not enter it.
        yield from (path for name in folders if (path := Path(base, name)).is_symlink())


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error
