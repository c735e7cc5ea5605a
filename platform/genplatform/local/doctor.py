"""doctor: does this machine have what the local platform needs? Each check ends in a sentence and what to do."""

from __future__ import annotations

import importlib.util
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from genplatform.errors import GenctlError
from genplatform.local import home, lifecycle, ports, probes, redis_server
from genplatform.settings import LONGEST_RUNTIME_DIR, Settings

NEWEST_PYTHON = (3, 14)
DISK_BYTES = 2 * 10**9
MEMORY_BYTES = 2 * 10**9
OPEN_FILES = 1024
EARLIEST = 1_767_225_600  # 2026-01-01: an earlier clock is a wrong one


@dataclass(frozen=True)
class Check:
    """One finding; `hint` says what to do when it is not ok."""

    name: str
    ok: bool
    message: str
    hint: str = ""


def doctor(settings: Settings) -> dict[str, Any]:
    """Return `{checks:[{name, ok, message, hint}]}`. Changes nothing but a probe file it removes again."""
    looks: tuple[Callable[[Settings], Check], ...] = (
        _python, _home, _disk, _memory, _runtime, _redis, _ray, _database, _port, _files, _clock,
    )  # fmt: skip
    return {"checks": [asdict(_guarded(look, settings)) for look in looks]}


def _guarded(look: Callable[[Settings], Check], settings: Settings) -> Check:
    name = look.__name__.strip("_")
    try:
        found = look(settings)
    except GenctlError as error:
        return Check(name, False, error.message, error.hint)
    except OSError as error:
        return Check(name, False, str(error), "See what the message names.")
    return Check(name, found.ok, found.message, "" if found.ok else found.hint)


def _python(_: Settings) -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    ok = (3, 11) <= sys.version_info[:2] <= NEWEST_PYTHON
    return Check(
        "", ok, f"Python {version} ({sys.executable})", "Use Python 3.11 to 3.14: make setup PYTHON=python3.12"
    )


def _home(settings: Settings) -> Check:
    existing = _existing(settings.home)
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        return Check("", False, f"{settings.home} cannot be written: {error.strerror}.", home.CHOOSE_ANOTHER)
    will = "" if existing == settings.home else " (it does not exist yet and can be made)"
    return Check("", True, f"{settings.home} can be written{will}")


def _existing(path: Path) -> Path:
    """Return the nearest of the path and its parents that is there."""
    return next((place for place in (path, *path.parents) if os.path.lexists(place)), Path("/"))


def _disk(settings: Settings) -> Check:
    free = shutil.disk_usage(_existing(settings.home)).free
    return Check(
        "",
        free >= DISK_BYTES,
        f"{_size(free)} free for {settings.home}",
        f"Free some space: {_size(DISK_BYTES)} at least.",
    )


def _memory(_: Settings) -> Check:
    memory = psutil.virtual_memory()
    return Check(
        "",
        memory.available >= MEMORY_BYTES,
        f"{_size(memory.available)} of {_size(memory.total)} memory available",
        f"Close something: Ray and a small model want {_size(MEMORY_BYTES)}.",
    )


def _runtime(settings: Settings) -> Check:
    folder = settings.runtime_dir
    hint = "Point TMPDIR to a short folder of your own, such as /tmp."
    if len(str(folder)) > LONGEST_RUNTIME_DIR:
        return Check("", False, f"{folder} is too long for Ray's sockets ({len(str(folder))} characters)", hint)
    if os.path.lexists(folder):
        found = folder.lstat()
        if folder.is_symlink() or not folder.is_dir() or found.st_uid != os.getuid():
            return Check("", False, f"{folder} is not a folder of your own (uid {found.st_uid})", hint)
    elif not os.access(folder.parent, os.W_OK):
        return Check("", False, f"{folder.parent} cannot be written", hint)
    return Check("", True, f"{folder} is short enough and yours")


def _redis(settings: Settings) -> Check:
    if not settings.redis_url:
        return Check("", True, f"The embedded server is {redis_server.find_server()}")
    problem = probes.redis_url_problem(settings.redis_url)
    where = f"{probes.redacted(settings.redis_url)} (GENCTL_REDIS_URL)"
    if problem:
        return Check("", False, f"Nobody answers on {where}: {problem}", "Start that Redis, or unset GENCTL_REDIS_URL.")
    return Check("", True, f"{where} answers")


def _ray(settings: Settings) -> Check:
    if importlib.util.find_spec("ray") is None:
        return Check("", False, "Ray is not installed in this environment", "Run make setup.")
    from importlib.metadata import version

    which = f"Ray {version('ray')}"
    name, colon, port = settings.ray_address.rpartition(":")
    if colon and port.isdigit() and not probes.port_answers(name.rpartition("/")[2], int(port)):
        hint = "Start that Ray, or unset GENCTL_RAY_ADDRESS."
        return Check("", False, f"{which}; nobody answers on {settings.ray_address} (GENCTL_RAY_ADDRESS)", hint)
    return Check("", True, f"{which}, {settings.ray_address or 'started by genctl up'}")


def _database(settings: Settings) -> Check:
    """SQLite: can the file be opened. Else: does the server's port answer; `db upgrade` finds out the rest."""
    url = settings.database
    if url.startswith("sqlite"):
        import sqlite3

        file = Path(url.partition(":///")[2])
        if not file.exists():
            return Check("", True, f"{file} will be made by genctl up")
        try:
            with sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=2) as connection:
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except (sqlite3.Error, ValueError) as error:
            return Check("", False, f"{file} cannot be read: {error}", "Restore it from a copy, or move it away.")
        return Check("", True, f"{file} can be read")
    from urllib.parse import urlsplit

    server = urlsplit(url)
    where = f"{probes.redacted(url)} (GENCTL_DATABASE_URL)"
    if server.hostname and not probes.port_answers(server.hostname, server.port or 5432):
        return Check("", False, f"Nobody answers on {where}", "Start that database, or unset GENCTL_DATABASE_URL.")
    return Check("", True, f"{where} answers")


def _port(settings: Settings) -> Check:
    hint = "Run `genctl down`, then `genctl up`: it chooses another; or ask for one with `genctl up --port N`."
    document = home.read_json(settings.platform_file)
    if document and home.is_locked(settings) and lifecycle.find_supervisor(settings) is not None:
        port = int(document["url"].rpartition(":")[2])
        if probes.http_ok(f"{document['url']}/livez"):
            return Check("", True, f"Port {port} is in use by this platform")
        holder = ports.holder_of(port)
        return Check(
            "", False, f"Our API does not answer on port {port}" + (f"; {holder} listens" if holder else ""), hint
        )
    kept = home.read_json(settings.home / "ports.json").get("api")
    if isinstance(kept, int) and not ports.is_free(kept):
        holder = ports.holder_of(kept) or "another program"
        return Check("", True, f"Port {kept} of the last run is in use by {holder}; the next `up` chooses another")
    return Check("", True, f"Port {kept} is free" if kept else "A free port is chosen by genctl up")


def _files(_: Settings) -> Check:
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = soft == resource.RLIM_INFINITY
    said = "any number of" if unlimited else str(soft)
    return Check(
        "", unlimited or soft >= OPEN_FILES, f"{said} open files allowed", f"Raise it: ulimit -n {4 * OPEN_FILES}"
    )


def _clock(_: Settings) -> Check:
    now = time.time()
    ok = now > EARLIEST
    return Check("", ok, time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now)), "Set the machine's clock.")


def _size(count: float) -> str:
    return f"{count / 10**9:.1f} GB"
