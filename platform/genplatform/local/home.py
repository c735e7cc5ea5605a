"""The local platform's folder: made private, proven writable, locked by the supervisor that lives in it.

Who holds the lock file is who runs the platform: the lock is the kernel's, so it falls with its
holder and never goes stale, whatever became of `platform.json`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import stat
import tempfile
from pathlib import Path
from typing import Any

from genplatform.errors import LocalPlatformError
from genplatform.settings import Settings

CHOOSE_ANOTHER = "Give yourself write permission on it, or set GENCTL_HOME to a folder you can write."
TOKEN_BYTES = 32


def prepare(settings: Settings) -> None:
    """Make the home (0700), its folders and its token (0600); raise when it cannot be written."""
    home = settings.home
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (settings.logs, home / "redis"):
            folder.mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
        _make_token(settings.token_file)
    except OSError as error:
        where = error.filename or home
        raise LocalPlatformError(
            f"The folder {home} cannot be used: {where}: {error.strerror}.", CHOOSE_ANOTHER
        ) from error


def _make_token(path: Path) -> None:
    """Write a fresh random token, unless one is there; another `up` at the same moment may be first."""
    if path.exists() and path.read_text().strip():
        path.chmod(0o600)
        return
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".token-")
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_urlsafe(TOKEN_BYTES) + "\n")
    try:
        if path.exists():
            os.replace(draft, path)
        else:
            os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        Path(draft).unlink(missing_ok=True)


def prepare_runtime(folder: Path) -> None:
    """Make the short folder for sockets (0700); refuse one that another user put there."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise LocalPlatformError(
            f"The runtime folder {folder} cannot be made: {error.strerror}.",
            "Point TMPDIR to a folder you can write.",
        ) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise LocalPlatformError(
            f"The runtime folder {folder} is not a folder of your own (its owner is uid {found.st_uid}).",
            "Remove it, or point TMPDIR to a folder that only you can write.",
        )
    if stat.S_IMODE(found.st_mode) != 0o700:
        folder.chmod(0o700)


class Lock:
    """The held lock of one home. `close` lets go of this process's hold; a child that got `fd` keeps its own."""

    def __init__(self, fd: int, path: Path) -> None:
        self.fd = fd
        self.path = path

    @property
    def in_place(self) -> bool:
        """Whether the locked file is still the one in the home (not so when the home was removed)."""
        try:
            return os.fstat(self.fd).st_ino == self.path.stat().st_ino
        except OSError:
            return False

    def identity(self) -> str:
        """Return the mark that processes of this home carry: random, kept in the lock file for the home's life.

        The home's path is part of it, so that a copied home does not take the original's processes for its own.
        """
        mark = os.pread(self.fd, 64, 0).decode("ascii", "replace").strip()
        if len(mark) != 2 * 8 or not mark.isalnum():
            mark = secrets.token_hex(8)
            os.ftruncate(self.fd, 0)
            os.pwrite(self.fd, f"{mark}\n".encode(), 0)
        return _identity(mark, self.path.parent)

    def close(self) -> None:
        """Let go of this process's hold."""
        os.close(self.fd)


def _identity(mark: str, home: Path) -> str:
    return f"{mark}-{hashlib.sha256(str(home).encode()).hexdigest()[:8]}"


def lock_file(settings: Settings) -> Path:
    """Return the path of the lock file."""
    return settings.home / "supervisor.lock"


def try_lock(settings: Settings) -> Lock | None:
    """Take the home's lock, or return None when another process holds it or there is no home."""
    path = lock_file(settings)
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise LocalPlatformError(f"The lock file {path} cannot be opened: {error.strerror}.", CHOOSE_ANOTHER) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except OSError as error:
        os.close(fd)
        raise LocalPlatformError(
            f"The folder {settings.home} lies on a file system without locks: {error.strerror}.",
            "Set GENCTL_HOME to a folder on a local disk.",
        ) from error
    return Lock(fd, path)


def is_locked(settings: Settings) -> bool:
    """Whether some process runs (or is just starting or cleaning) the platform of this home. Creates nothing."""
    path = lock_file(settings)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    else:
        return False
    finally:
        os.close(fd)


def identity(settings: Settings) -> str | None:
    """Return the mark of this home's processes, or None when it never had any."""
    try:
        mark = lock_file(settings).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return _identity(mark, settings.home) if mark else None


def runtime_of(document: dict[str, Any], settings: Settings) -> Path:
    """Return the runtime folder that `platform.json` names, if it is one; TMPDIR may have been another then."""
    named = Path(str(document.get("runtime_dir", "")))
    return named if named.is_absolute() and named.name == settings.runtime_dir.name else settings.runtime_dir


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Replace `path` by `document` in one step, so that no reader ever sees half of it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(document, indent=1) + "\n")
    os.replace(draft, path)


def read_json(path: Path) -> dict[str, Any]:
    """Return the document in `path`; empty when it is missing or is not one."""
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
