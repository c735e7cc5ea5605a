"""A store on a folder: written under `.staging/`, made durable, then renamed to the final name.

Nothing half-written is ever visible under a key, whatever moment the process or the machine
dies at. What a crash leaves lies under `.staging/` and goes with `sweep`.
"""

from __future__ import annotations

import errno
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from genplatform.errors import BadRequest, Conflict, NotFound, Unavailable
from genplatform.store import trees
from genplatform.store.digests import Stored
from genplatform.store.keys import STAGING

_HINTS = {
    errno.ENOSPC: "The disk is full: free some space, or set GENCTL_STORE_URL to a place with room.",
    errno.EDQUOT: "The disk quota is used up: free some space, or set GENCTL_STORE_URL to a place with room.",
    errno.EACCES: "Give this user write permission there, or set GENCTL_STORE_URL to a folder it may write.",
    errno.EPERM: "Give this user write permission there, or set GENCTL_STORE_URL to a folder it may write.",
    errno.EROFS: "That file system is read-only: remount it, or set GENCTL_STORE_URL to one that is not.",
    errno.EMFILE: "This process has too many files open: raise its limit (ulimit -n).",
}
_OTHER_HINT = "See that the folder is there and healthy, or set GENCTL_STORE_URL to another."


class FolderBackend:
    """Objects as files below one folder, which is created by the first write."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def write(self, key: str, source: BinaryIO) -> Stored:
        """Write one object; one that stands already is replaced whole."""
        with self._failing(key):
            final = self._inside(key)
            with self._staged() as staged:
                stored = trees.write_file(staged, source, key)
                trees.make_folders(final.parent)
                staged.replace(final)
            trees.fsync_folder(final.parent)
        return stored

    def write_tree(self, folder: Path, files: Sequence[str], key: str) -> list[Stored]:
        """Write a whole folder under its final name at once."""
        with self._failing(key):
            final = self._inside(key)
            with self._staged() as staged:
                stored = trees.write_tree(staged, _opened(folder, files), key)
                trees.make_folders(final.parent)
                return trees.publish_tree(staged, final, stored, key)

    def open(self, key: str) -> BinaryIO:
        """Open one object for reading."""
        with self._failing(key):
            path = self._inside(key)
            if not path.is_file():
                raise NotFound(f"The store has no object {key}.", f"It was looked for at {path}.")
            return path.open("rb")

    def exists(self, key: str) -> bool:
        """Tell whether an object has that key, or objects lie below it."""
        with self._failing(key):
            return self._inside(key).is_file() or bool(self.keys(key))

    def keys(self, prefix: str) -> list[str]:
        """Return the keys of the objects below a folder, sorted."""
        with self._failing(prefix):
            base = self._inside(prefix) if prefix else self.root
            if prefix and base.is_file():
                return [prefix]
            names = trees.visible_files(base)
        if not prefix:
            return [name for name in names if not name.startswith(f"{STAGING}/")]
        return [f"{prefix}/{name}" for name in names]

    def remove(self, key: str) -> None:
        """Remove an object, or all below a folder; it vanishes at once and whole."""
        with self._failing(key):
            final = self._inside(key)
            with self._staged() as staged, suppress(FileNotFoundError, NotADirectoryError):
                final.rename(staged)
                trees.fsync_folder(final.parent)

    def uri(self, key: str) -> str:
        """Return the object's `file:///` URI."""
        return (self.root / key).as_uri()

    def disk(self) -> Path:
        """Return a folder that is there, on the disk where objects are written."""
        return next(folder for folder in (self.root, *self.root.parents) if folder.is_dir())

    def check(self) -> None:
        """Write and remove a probe."""
        with self._failing(""), self._staged() as staged:
            staged.write_bytes(b"probe")

    def sweep(self, before: float) -> int:
        """Remove what crashes left half-written and nothing has touched since `before` (seconds since 1970)."""
        swept = 0
        with self._failing(STAGING):
            for left in self._leftovers():
                with suppress(FileNotFoundError):
                    if left.stat(follow_symlinks=False).st_mtime < before:
                        trees.discard(left)
                        swept += 1
        return swept

    def _leftovers(self) -> list[Path]:
        folder = self.root / STAGING
        return list(folder.iterdir()) if folder.is_dir() else []

    def _inside(self, key: str) -> Path:
        # A link on the way must not lead out of the store. The last part itself is not
        # followed when it is written or removed: a rename replaces the link.
        path = self.root / key
        for place in (path.parent.resolve() / path.name, path.resolve()):
            if not place.is_relative_to(self.root):
                raise BadRequest(
                    f"The key {key} leads out of the store by a link.", f"Remove the link below {self.root}."
                )
        return path

    @contextmanager
    def _staged(self) -> Iterator[Path]:
        folder = self.root / STAGING
        trees.make_folders(folder)
        staged = folder / uuid.uuid4().hex
        try:
            yield staged
        finally:
            trees.discard(staged)

    @contextmanager
    def _failing(self, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            in_the_way = isinstance(error, FileExistsError | NotADirectoryError | IsADirectoryError)
            if in_the_way and self.root.is_dir():
                raise Conflict(
                    f"{self.root / key} cannot be written: {_reason(error)}.",
                    "A key is either an object or a folder of objects: choose another name.",
                ) from error
            raise Unavailable(
                f"The store at {self.root} cannot be used for {key or 'a probe'}: {_reason(error)}.",
                _HINTS.get(error.errno or 0, _OTHER_HINT),
            ) from error


def _opened(folder: Path, files: Sequence[str]) -> Iterator[tuple[str, BinaryIO]]:
    for name in files:
        with (folder / name).open("rb") as source:
            yield name, source


def _reason(error: OSError) -> str:
    return (error.strerror or str(error) or type(error).__name__).lower()
