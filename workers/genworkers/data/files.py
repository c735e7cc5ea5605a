"""The files of a source: of a folder, of a pattern, of an archive, or one alone. Read and never unpacked.

Names are relative, with '/', sorted. A link that leads out of the folder, a member of an archive
whose name does, and what is no regular file are told as left out, and never followed.
"""

from __future__ import annotations

import glob
import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple, TypeVar

from genplatform.domain.paths import fixed_part, is_pattern
from genplatform.errors import BadRequest, NotFound
from genworkers.data.bounds import BadItem, plain

ARCHIVES = (".zip", ".tar")
MOST_FILE_BYTES = 1 << 30  # of one picture or document
# Deflate reaches 1032; pictures and tables of any use stay far below.
HIGHEST_RATIO = 200
SMALL = 16 << 20

# What is raised where a file or an archive is damaged, cut off, or locked with a password.
BROKEN = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    tarfile.TarError,
)

T = TypeVar("T")


class Refused(NamedTuple):
    """What may not be read, and why; a folder stands for all that lies in it."""

    name: str
    why: str
    is_folder: bool = False


class Files(ABC):
    """Files by name. `refused` are those that may not be read, and why."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.names: list[str] = []
        self.refused: list[Refused] = []

    @abstractmethod
    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading; raises BadItem where that cannot be."""

    def read(self, name: str) -> bytes:
        """Return a file's bytes, when these are not too many."""
        try:
            with self.open(name) as file:
                data = file.read(MOST_FILE_BYTES + 1)
        except BROKEN as error:
            raise BadItem(f"cannot be read: {error}") from error
        if len(data) > MOST_FILE_BYTES:
            raise BadItem(f"has more than {MOST_FILE_BYTES:,} bytes")
        return data


class FolderFiles(Files):
    """Files below a folder, all or those that a pattern names."""

    def __init__(self, root: Path, paths: list[Path], title: str) -> None:
        super().__init__(title)
        self._root = root
        real = os.path.realpath(root)
        for path in paths:
            name = path.relative_to(root).as_posix()
            # Not of links alone: a pattern finds what lies behind a linked folder.
            if not Path(os.path.realpath(path)).is_relative_to(real):
                self.refused.append(Refused(name, "is a link that leads out of the folder", path.is_dir()))
            elif path.is_file():
                self.names.append(name)
            elif not path.is_dir():
                self.refused.append(Refused(name, "is no regular file"))
            elif path.is_symlink():
                self.refused.append(Refused(name, "is a link to a folder, which is not followed", True))
        self.names.sort()
        self.refused.sort()

    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading."""
        try:
            return (self._root / name).open("rb")
        except OSError as error:
            raise BadItem(f"cannot be read: {error.strerror}") from error


class ZipFiles(Files):
    """The members of a zip archive."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.name)
        self._archive = _opened(path, lambda: zipfile.ZipFile(path))
        for member in self._archive.infolist():
            if member.is_dir():
                continue
            if why := _unsafe(member.filename):
                self.refused.append(Refused(member.filename, why))
            elif member.file_size > SMALL and member.file_size > HIGHEST_RATIO * max(1, member.compress_size):
                self.refused.append(Refused(member.filename, f"would unpack to {member.file_size:,} bytes"))
            else:
                self.names.append(member.filename)
        self.names = sorted(set(self.names))

    def open(self, name: str) -> IO[bytes]:
        """Open a member for reading; it yields no more than it declares."""
        try:
            return self._archive.open(name)
        except BROKEN as error:
            raise BadItem(f"cannot be read: {error}") from error


class TarFiles(Files):
    """The members of a plain tar archive: the last of each name."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.name)
        self._archive = _opened(path, lambda: tarfile.open(path, "r:"))  # noqa: SIM115 - open as long as this is
        self._members = {}
        for member in _opened(path, self._archive.getmembers):
            if member.isdir():
                continue
            why = _unsafe(member.name) or ("" if member.isreg() else "is no regular file")
            if why:
                self.refused.append(Refused(member.name, why))
            else:
                self._members[member.name] = member
        self.names = sorted(self._members)

    def open(self, name: str) -> IO[bytes]:
        """Open a member for reading."""
        file = self._archive.extractfile(self._members[name])
        if file is None:
            raise BadItem("is no regular file")
        return file


def open_files(path: str) -> Files:
    """Return the files of a folder, an archive, a pattern or one file on this machine."""
    place = Path(path)
    try:
        if is_pattern(path):
            return FolderFiles(Path(fixed_part(path)), list(map(Path, glob.glob(path, recursive=True))), path)
        if place.is_dir():
            return FolderFiles(place, list(_walk(place)), place.name)
        if place.is_file():
            if place.suffix == ".zip":
                return ZipFiles(place)
            return TarFiles(place) if place.suffix == ".tar" else FolderFiles(place.parent, [place], place.name)
    except OSError as error:
        raise BadRequest(
            f"The data at {plain(path)} cannot be read: {error.strerror}.", "Give the node's user read permission."
        ) from error
    raise NotFound(f"There is no file or folder {plain(path)} on this node.", "Check data.source.")


def _walk(root: Path) -> list[Path]:
    found = []

    def fail(error: OSError) -> None:
        raise error

    for base, folders, names in os.walk(root, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [path for name in folders if (path := Path(base, name)).is_symlink()]
        found += [Path(base, name) for name in names if not name.startswith(".")]
    return found


def _unsafe(name: str) -> str:
    """Return why an archive's member may not be read, or nothing."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        return "has a name that leads out of the archive"
    return ""


def _opened(path: Path, open_it: Callable[[], T]) -> T:
    try:
        return open_it()
    except BROKEN as error:
        raise BadRequest(f"{path.name} cannot be read as an archive: {error}.", "Make it again.") from error
