"""The artifact store: one class over a folder or any fsspec URL."""

from __future__ import annotations

import io
import os
import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from urllib.parse import SplitResult, unquote, urlsplit

from genplatform.errors import BadRequest, Conflict, NotFound, SettingsError, Unavailable
from genplatform.store import digests, trees
from genplatform.store.digests import Stored
from genplatform.store.folder import FolderBackend
from genplatform.store.keys import check_key, check_prefix
from genplatform.store.objects import ObjectBackend


class Store:
    """Bytes by key. `url` is `file:///a/folder`, an absolute path, or any URL that fsspec knows.

    Keys are relative POSIX paths (see `store.keys`); a bad one raises BadRequest. What is
    missing raises NotFound; a store that cannot be read or written raises Unavailable. Memory
    stays flat whatever the size, but for `read_bytes`. Safe to use from many threads.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        folder = _folder_of(url)
        self._backend: FolderBackend | ObjectBackend = (
            ObjectBackend(url, _redacted(url)) if folder is None else FolderBackend(folder)
        )

    @property
    def shown(self) -> str:
        """The URL as it may be shown: without its passwords."""
        return _redacted(self.url)

    def put_bytes(self, key: str, data: bytes) -> Stored:
        """Write an object from memory; one that stands already is replaced whole."""
        return self._backend.write(check_key(key), io.BytesIO(data))

    def put_file(self, path: Path | str, key: str) -> Stored:
        """Write an object from a local file; one that stands already is replaced whole."""
        check_key(key)
        with _source(Path(path)) as source:
            return self._backend.write(key, source)

    def put_tree(self, folder: Path | str, key: str) -> list[Stored]:
        """Write a local folder's files under `key`, sorted by their paths.

        On a folder store the whole tree appears at once, by one rename. When the name stands
        already, the same files with the same bytes are kept and returned; others raise
        Conflict. Links and special files in `folder`, and an empty folder, raise BadRequest.
        """
        folder = Path(folder)
        check_key(key)
        if not folder.is_dir():
            raise NotFound(f"There is no folder {folder} to store as {key}.", "Give the path of an existing folder.")
        names = trees.regular_files(folder)
        if not names:
            raise BadRequest(f"The folder {folder} is empty, so nothing can be stored as {key}.")
        for name in names:
            check_key(f"{key}/{name}")
        return self._backend.write_tree(folder, names, key)

    def read_bytes(self, key: str) -> bytes:
        """Return an object's bytes."""
        with self.open(key) as source:
            return source.read()

    def open(self, key: str) -> BinaryIO:
        """Open an object for reading; the caller closes it."""
        return self._backend.open(check_key(key))

    def measure(self, key: str) -> Stored:
        """Read an object and return its digest and size."""
        with self.open(key) as source:
            return digests.measure(source, key)

    def fetch(self, key: str, to: Path | str) -> Stored:
        """Copy an object to the local file `to`, which appears whole; return its digest and size."""
        to = Path(to)
        with self.open(key) as source, _local(to):
            to.parent.mkdir(parents=True, exist_ok=True)
            part = to.with_name(f".{uuid.uuid4().hex}.part")
            try:
                stored = trees.write_file(part, source, key)
                part.replace(to)
            finally:
                with suppress(OSError):
                    part.unlink(missing_ok=True)
        return stored

    def fetch_tree(self, key: str, to: Path | str) -> list[Stored]:
        """Copy all objects below `key` into the local folder `to`, which appears whole.

        `to` may exist when it is empty or holds the same files already, else Conflict.
        """
        to = Path(to)
        names = [name.removeprefix(f"{key}/") for name in self.list(key) if name != key]
        if not names:
            raise NotFound(f"The store has no folder {key}.", f"It was looked for at {self.uri(key)}.")
        with _local(to):
            to.parent.mkdir(parents=True, exist_ok=True)
            part = to.with_name(f".{uuid.uuid4().hex}.part")
            try:
                stored = trees.write_tree(part, self._opened(key, names), key)
                return trees.publish_tree(part, to, stored, key)
            finally:
                trees.discard(part)

    def exists(self, key: str) -> bool:
        """Tell whether an object has that key, or objects lie below it."""
        return self._backend.exists(check_key(key))

    def remove(self, key: str) -> None:
        """Remove an object, or all below a folder; quiet when there is none."""
        self._backend.remove(check_key(key.removesuffix("/")))

    def uri(self, key: str) -> str:
        """Return the object's absolute URI (`file:///...`, `s3://...`)."""
        return self._backend.uri(check_key(key))

    def disk(self) -> Path | None:
        """Return a folder on the disk of this machine where objects are written; None when it is none."""
        return self._backend.disk()

    def check(self) -> None:
        """Return when the store can be written, else raise Unavailable."""
        self._backend.check()

    def sweep(self, before: float) -> int:
        """Remove half-written leftovers that nothing touched since `before` (seconds since 1970); return how many."""
        return self._backend.sweep(before)

    def list(self, prefix: str = "") -> list[str]:
        """Return the keys of all objects below a folder, sorted; of the whole store when `prefix` is empty."""
        return self._backend.keys(check_prefix(prefix))

    def _opened(self, key: str, names: Sequence[str]) -> Iterator[tuple[str, BinaryIO]]:
        for name in names:
            with self.open(f"{key}/{name}") as source:
                yield name, source


def _folder_of(url: str) -> Path | None:
    """Return the folder that a URL names, or None when it names something else."""
    if os.path.isabs(url):
        return Path(url)
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = SplitResult("", "", "", "", "")
    if parts.scheme in {"file", "local"} and parts.netloc in {"", "localhost"} and parts.path.startswith("/"):
        return Path(unquote(parts.path))
    if not parts.scheme or parts.scheme in {"file", "local"}:
        raise SettingsError(
            f"The store URL {_redacted(url)!r} names no absolute folder.",
            "Set GENCTL_STORE_URL to file:///an/absolute/folder or to a URL such as s3://bucket/folder.",
        )
    return None


def _redacted(url: str) -> str:
    return re.sub(r"//.*@", "//***@", url, flags=re.DOTALL)


@contextmanager
def _source(path: Path) -> Iterator[BinaryIO]:
    try:
        source = path.open("rb")
    except OSError as error:
        raise NotFound(
            f"The local file {path} cannot be read: {error.strerror}.", "Give a file you can read."
        ) from error
    with source:
        yield source


@contextmanager
def _local(to: Path) -> Iterator[None]:
    try:
        yield
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise Conflict(f"{to} is in the way: {error.strerror}.", "Choose another place to copy to.") from error
    except OSError as error:
        raise Unavailable(
            f"{to} cannot be written: {error.strerror}.", "Free some space, or copy elsewhere."
        ) from error
