"""Tars of plain files: unpacked into a new folder, and nothing of them anywhere else."""

from __future__ import annotations

import errno
import shutil
import tarfile
from pathlib import Path
from typing import IO

from genplatform.domain.recipe_code import is_plain
from genplatform.errors import BadRequest, Unavailable

# Headers of any length are read whole by tarfile, before it says anything of a member.
LONGEST_HEADER = 64 << 10
_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


def unpack(archive: Path, folder: Path, what: str, *, most_files: int, most_bytes: int | None = None) -> None:
    """Unpack into a folder that is not there yet; raises BadRequest, which says `what` cannot be used, and why.

    Uncompressed, and of nothing but files with plain names: what comes out is no more than what went in.
    """
    folder.mkdir()
    left = archive.stat().st_size if most_bytes is None else most_bytes
    try:
        with archive.open("rb") as file:
            _refuse_long_headers(file, what)
        with tarfile.open(archive, "r:") as members:
            for number, member in enumerate(members):
                source = members.extractfile(member) if member.isreg() and not member.issparse() else None
                left -= member.size
                if source is None or not is_plain(member.name):
                    raise _bad(what, f"{member.name[:200]!r} is no plain file of a folder")
                if number >= most_files or left < 0:
                    limits = f"{most_files:,} files" + (f" or {most_bytes:,} bytes" if most_bytes is not None else "")
                    raise _bad(what, f"it holds more than {limits}")
                _write(source, folder / member.name, what)
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise _bad(what, f"it is no tar ({error})") from error


def _refuse_long_headers(file: IO[bytes], what: str) -> None:
    while len(block := file.read(tarfile.BLOCKSIZE)) == tarfile.BLOCKSIZE and any(block):
        header = tarfile.TarInfo.frombuf(block, tarfile.ENCODING, "surrogateescape")
        if header.size < 0 or (header.type in _HEADERS and header.size > LONGEST_HEADER):
            raise _bad(what, f"it has a header of {header.size:,} bytes")
        file.seek(-(-header.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE, 1)


def _write(source: IO[bytes], to: Path, what: str) -> None:
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with source, to.open("xb") as file:
            shutil.copyfileobj(source, file)
    except (FileExistsError, NotADirectoryError):
        raise _bad(what, f"{to.name!r} is in it twice") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise _bad(what, f"it has a path of {len(str(to)):,} characters") from None
        raise Unavailable(f"{to} cannot be written: {error.strerror}.", "Make room there, then try again.") from error


def _bad(what: str, why: str) -> BadRequest:
    return BadRequest(f"{what} cannot be used: {why}.", "Send it again as genctl makes it.")
