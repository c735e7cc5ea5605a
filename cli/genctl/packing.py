"""Files on their way to a platform elsewhere: a folder becomes one tar, whose bytes its files alone decide."""

from __future__ import annotations

import glob
import hashlib
import os
import stat
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from genctl.jobfiles import PIECE, Sent
from genctl.transport import Transport
from genplatform.domain.paths import fixed_part, is_pattern
from genplatform.domain.uploads import Upload, plain_name
from genplatform.errors import BadRequest, NotFound

# An upload is written twice before the answer is given.
UPLOAD_SECONDS = 1800.0


class FileBody:
    """A file that is sent in pieces and tells how far it is; from the start again each time it is sent."""

    def __init__(self, file: IO[bytes], sent: Sent | None = None) -> None:
        self._file, self._sent = file, sent or (lambda _so_far, _of: None)
        self.size = file.seek(0, os.SEEK_END)

    def __iter__(self) -> Iterator[bytes]:
        self._file.seek(0)
        so_far = 0
        while piece := self._file.read(PIECE):
            self._sent(so_far, self.size)
            yield piece
            so_far += len(piece)
        self._sent(so_far, self.size)


def send_ahead(http: Transport, api: str, path: str | Path, sent: Sent | None, *, dry_run: bool) -> str:
    """Send what a path names, unless it is there already, and return how a job file names it."""
    with packed(os.path.abspath(path)) as (upload, file):
        if not dry_run:
            send(http, api, upload.digest, file, sent)
        return str(upload)


def send(http: Transport, api: str, digest: str, file: IO[bytes], sent: Sent | None) -> None:
    """Send a file under its digest, unless it is there already."""
    route = f"{api}/uploads/{digest}"
    if not _is_there(http, route):
        body = FileBody(file, sent)
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(body.size)}
        http.json("PUT", route, content=body, headers=headers, answer_seconds=UPLOAD_SECONDS)


def _is_there(http: Transport, route: str) -> bool:
    try:
        http.json("GET", route)
    except NotFound:
        return False
    return True


@contextmanager
def packed_files(root: Path, paths: Sequence[str]) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield files below a folder as one tar: its digest, and it open for reading."""
    with tempfile.TemporaryFile(prefix="genctl-packed-") as file:
        _pack(root, paths, file)
        yield _digest(file), file


@contextmanager
def packed(path: str) -> Iterator[tuple[Upload, IO[bytes]]]:
    """Yield a file, a folder or a pattern's files as what is uploaded: named by its digest, and open for reading."""
    with ExitStack() as opened:
        try:
            made = _made(path, opened)
        except OSError as error:
            raise BadRequest(
                f"{error.filename or path} cannot be read: {error.strerror}.", "Give what you may read."
            ) from None
        yield made


def _made(path: str, opened: ExitStack) -> tuple[Upload, IO[bytes]]:
    if os.path.isfile(path):
        file = opened.enter_context(Path(path).open("rb"))  # noqa: SIM115 - `opened` closes it
        return Upload(_digest(file), plain_name(Path(path).name)), file
    root = fixed_part(path)
    packs = opened.enter_context(tempfile.TemporaryFile(prefix="genctl-packed-"))  # noqa: SIM115 - `opened` closes it
    _pack(Path(root), _files(path), packs)
    return Upload(_digest(packs), plain_name(f"{Path(root).name}.tar")), packs


def _files(path: str) -> list[str]:
    if is_pattern(path):
        found = [one for one in glob.glob(path, recursive=True) if os.path.islink(one) or not os.path.isdir(one)]
    else:
        found = []
        for base, folders, names in os.walk(path):
            folders[:] = [name for name in folders if not name.startswith(".")]
            found += [one for name in folders if os.path.islink(one := os.path.join(base, name))]
            found += [os.path.join(base, name) for name in names if not name.startswith(".")]
    if not found:
        raise NotFound(f"There is no file at {path} to learn from.", "Check data.source.")
    return sorted(found)


def _pack(root: Path, paths: Sequence[str], file: IO[bytes]) -> None:
    real = os.path.realpath(root)
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in paths:
            if not Path(os.path.realpath(path)).is_relative_to(real):
                raise BadRequest(f"{path} is a link that leads out of {root}.", "Replace it by the file, or remove it.")
            mode = os.stat(path).st_mode
            if stat.S_ISDIR(mode):
                raise BadRequest(f"{path} is a link to a folder, which is not followed.", "Replace it by the folder.")
            if not stat.S_ISREG(mode):
                raise BadRequest(f"{path} is no regular file.", "Remove it.")
            with open(path, "rb") as source:
                # Nothing but name and length: the same files are the same bytes on every machine.
                member = tarfile.TarInfo(os.path.relpath(path, root).replace(os.sep, "/"))
                member.size = os.fstat(source.fileno()).st_size
                archive.addfile(member, source)


def _digest(file: IO[bytes]) -> str:
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    file.seek(0)
    return digest
