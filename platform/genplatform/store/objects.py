"""A store on anything fsspec speaks: each object is written once, under its final key.

Object stores have no rename. An object appears when its upload is complete; a tree appears
object by object, so a tree counts only once a committed row refers to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec
from fsspec.spec import AbstractBufferedFile

from genplatform.errors import Conflict, GenctlError, NotFound, SettingsError, Unavailable
from genplatform.store.digests import CHUNK, Stored, chunks, copy, measure
from genplatform.store.keys import STAGING

# Objects up to this size are written by one request, which on every system is all or nothing.
SMALL = 8 << 20


class ObjectBackend:
    """Objects below one root of an fsspec file system; `shown` is the URL for messages, without secrets."""

    def __init__(self, url: str, shown: str) -> None:
        self._shown = shown
        try:
            self._fs, root = fsspec.core.url_to_fs(url)
        except ImportError as error:
            raise SettingsError(
                f"The store {shown} needs a library that is not installed: {error}.",
                "Install it with pip (s3fs for s3://, gcsfs for gs://, adlfs for az://).",
            ) from error
        except Exception as error:
            raise SettingsError(
                f"The store {shown} cannot be used: {error}.",
                "Set GENCTL_STORE_URL to file:///a/folder or to a URL that fsspec knows, such as s3://bucket/folder.",
            ) from error
        self._root = root.rstrip("/")

    def write(self, key: str, source: BinaryIO) -> Stored:
        """Write one object; one that stands already is replaced whole."""
        with self._failing(key):
            self._fs.makedirs(self._path(key).rpartition("/")[0], exist_ok=True)
            head = source.read(SMALL)
            rest = source.read(CHUNK)
            if not rest:
                return copy([head], lambda data: self._fs.pipe_file(self._path(key), data), key)
            return self._upload(chain([head, rest], chunks(source)), key)

    def write_tree(self, folder: Path, files: Sequence[str], key: str) -> list[Stored]:
        """Write a folder's files; those that stand already with the same bytes are kept."""
        standing = set(self.keys(key))
        surplus = standing - {f"{key}/{name}" for name in files}
        if surplus:
            raise self._conflict(min(surplus))
        return [self._write_once(folder / name, f"{key}/{name}", f"{key}/{name}" in standing) for name in files]

    def open(self, key: str) -> BinaryIO:
        """Open one object for reading."""
        with self._failing(key):
            try:
                source = self._fs.open(self._path(key), "rb")
            except (FileExistsError, NotADirectoryError) as error:
                raise self._not_found(key) from error
        # memory:// hands the same open file to every reader: each gets a position of its own.
        return BytesIO(source.getvalue()) if isinstance(source, BytesIO) else cast(BinaryIO, source)

    def exists(self, key: str) -> bool:
        """Tell whether an object has that key, or objects lie below it."""
        return bool(self.keys(key))

    def keys(self, prefix: str) -> list[str]:
        """Return the keys of the objects below a folder, sorted."""
        with self._failing(prefix):
            self._fs.invalidate_cache()
            start = len(self._root) + 1
            # `find` on some systems takes a file's own path too, on others only a folder's.
            names = {name[start:] for name in self._fs.find(self._path(prefix))}
            if prefix and not names and self._fs.isfile(self._path(prefix)):
                names = {prefix}
        return sorted(name for name in names if name and not name.startswith(f"{STAGING}/"))

    def remove(self, key: str) -> None:
        """Remove an object, or all below a folder."""
        with self._failing(key):
            self._fs.invalidate_cache()
            with suppress(FileNotFoundError):
                self._fs.rm(self._path(key), recursive=True)

    def uri(self, key: str) -> str:
        """Return the object's URL as fsspec opens it."""
        return str(self._fs.unstrip_protocol(self._path(key)))

    def disk(self) -> None:
        """Return None: objects lie on no disk of this machine that is known."""

    def check(self) -> None:
        """Write and remove a probe."""
        with self._failing(""):
            path = self._path(f"{STAGING}/probe")
            self._fs.pipe_file(path, b"probe")
            self._fs.rm_file(path)

    def sweep(self, before: float) -> int:
        """Nothing is staged here: an upload that broke off never became an object."""
        return 0

    def _upload(self, pieces: Iterable[bytes], key: str) -> Stored:
        out = self._fs.open(self._path(key), "wb")
        try:
            stored = copy(pieces, out.write, key)
        except BaseException:
            self._abandon(out, key)
            raise
        out.close()
        return stored

    def _write_once(self, path: Path, key: str, stands: bool) -> Stored:
        with path.open("rb") as source:
            if not stands:
                return self.write(key, source)
            ours = measure(source, key)
        with self.open(key) as theirs:
            if measure(theirs, key) != ours:
                raise self._conflict(key)
        return ours

    def _not_found(self, key: str) -> NotFound:
        return NotFound(f"The store has no object {key}.", f"It was looked for below {self._shown}.")

    def _conflict(self, key: str) -> Conflict:
        return Conflict(
            f"{self.uri(key)} exists already with other content.",
            "A published folder is never changed: write under a new name.",
        )

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}" if key else self._root

    def _abandon(self, out: Any, key: str) -> None:
        with suppress(Exception):
            if isinstance(out, AbstractBufferedFile):
                out.discard()
                # Closing would complete the upload with what has been written so far.
                out.closed = True
            else:
                self._fs.rm_file(self._path(key))

    @contextmanager
    def _failing(self, key: str) -> Iterator[None]:
        try:
            yield
        except GenctlError:
            raise
        except (FileNotFoundError, IsADirectoryError) as error:
            raise self._not_found(key) from error
        except (FileExistsError, NotADirectoryError) as error:
            raise Conflict(
                f"{self._shown}/{key} cannot be used: {error} is in the way.",
                "A key is either an object or a folder of objects: choose another name.",
            ) from error
        except Exception as error:  # client libraries raise errors of their own, of no common kind
            raise Unavailable(
                f"The store {self._shown} cannot be used for {key or 'a probe'}: {error or type(error).__name__}.",
                "See that its address, its credentials and the network are right (GENCTL_STORE_URL).",
            ) from error
