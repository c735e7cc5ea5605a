"""Python environments of what a job asks of pip: built once a node, shared by all who ask the same.

    shared lock ──> whole? ──yes──> used, under the shared lock, until the Run is over
        ^             │ no
        └── marked whole <── venv, pip install <── exclusive lock

It lies in a folder named by the digest of what decides it, and is built there, because what pip installs names
its own place. Only the mark, written last, makes it one that is used: what was cut off is built anew. One that
nobody asked for in a week is removed, and never while somebody holds it. What the platform's own environment has
is found behind what was installed, so that PyTorch is there and nothing of the platform's is changed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sys
import sysconfig
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from genplatform.domain.retry import Cause
from genworkers.failures import Failure

FORMAT = 1
WHOLE = "whole"
UNUSED_SECONDS = 7 * 24 * 3600.0
LOOK_SECONDS = 0.2
PIP = ("--disable-pip-version-check", "--no-input", "install", "--progress-bar", "off")

# What pip itself reads, and by what it reaches an index.
PIP_VARIABLES = "PIP_"
_KEPT = frozenset({"HOME", "LANG", "PATH", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"})
_PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy", "no_proxy"})

# Runs a program with its output in the log; returns its code, or None where it was ended because the Run is to stop.
Execute = Callable[[Sequence[str]], int | None]


class Stopped(Exception):
    """The Run was asked to stop meanwhile."""


class NotBuilt(Exception):
    """It cannot be built; `failure` says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@dataclass
class Environment:
    """One that is whole, held until it is closed."""

    folder: Path
    _held: IO[bytes]

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def packages(self) -> Path:
        """Where what was installed lies."""
        return _packages(self.folder)

    def close(self) -> None:
        """Let go of it."""
        self._held.close()


def cache_folder() -> Path:
    """Return where they lie, for all Runs of this node: in the platform's home, if it is here."""
    home = os.environ.get("GENCTL_HOME", "")
    base = Path(home) if home else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "genctl"
    return base / "environments"


def pip_variables() -> dict[str, str]:
    """Return the variables of this node that pip reads."""
    return {name: value for name, value in os.environ.items() if name.startswith(PIP_VARIABLES)}


def proxies() -> dict[str, str]:
    """Return the variables of this node that say by what an index is reached."""
    return {name: value for name, value in os.environ.items() if name.lower() in _PROXIES}


def surroundings() -> dict[str, str]:
    """Return all that pip needs of this node: no key to a store, a database or a cluster is in it."""
    kept = {name: value for name, value in os.environ.items() if name in _KEPT}
    return kept | proxies() | pip_variables()


def digest(requirements: Sequence[str], variables: dict[str, str]) -> str:
    """Return the name of the environment that these requirements, and pip's `variables`, make here."""
    here = [FORMAT, sys.version, sys.prefix, list(requirements), sorted(variables.items())]
    return hashlib.sha256(json.dumps(here).encode()).hexdigest()[:32]


def take(
    cache: Path, name: str, requirements: Sequence[str], execute: Execute, wait: Callable[[float], bool]
) -> Environment:
    """Return the environment `name`, built if it is not there; `wait` tells whether the Run is to stop.

    Raises Stopped, and NotBuilt.
    """
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    _prune(cache, name)
    folder = cache / name
    lock = (cache / f"{name}.lock").open("ab")
    try:
        while True:
            _hold(lock, fcntl.LOCK_SH, wait)
            if (folder / WHOLE).exists():
                os.utime(cache / f"{name}.lock")
                return Environment(folder, lock)
            _hold(lock, fcntl.LOCK_EX, wait)
            if not (folder / WHOLE).exists():
                _build(folder, requirements, execute)
    except BaseException:
        lock.close()
        raise


def _hold(lock: IO[bytes], how: int, wait: Callable[[float], bool]) -> None:
    while True:
        try:
            fcntl.flock(lock, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if wait(LOOK_SECONDS):
                raise Stopped from None
        else:
            return


def _build(folder: Path, requirements: Sequence[str], execute: Execute) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    # pip is the platform's own, told to install there: a node without `ensurepip` has it too.
    made = execute([sys.executable, "-I", "-m", "venv", "--clear", "--without-pip", str(folder)])
    if made is None:
        raise Stopped
    if made != 0:
        message = f"The environment for its pip requirements could not be made: venv exited with code {made}."
        raise NotBuilt(
            Failure(Cause.START_FAILED, message, "See the job's log, and the node's disk.", "", expected=True)
        )
    (_packages(folder) / "behind.pth").write_text("\n".join(_platforms()) + "\n")
    wanted = folder / "requirements.txt"
    wanted.write_text("\n".join(requirements) + "\n")
    python = str(folder / "bin" / "python")
    code = execute([sys.executable, "-I", "-m", "pip", "--python", python, *PIP, "-r", str(wanted)])
    if code is None:
        raise Stopped
    if code != 0:
        raise NotBuilt(_refused(requirements, code))
    (folder / WHOLE).touch()


def _packages(folder: Path) -> Path:
    return folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def _platforms() -> list[str]:
    """Return where the packages of the platform's own environment lie."""
    return list(dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib")))


def _refused(requirements: Sequence[str], code: int) -> Failure:
    message = f"pip could not install {', '.join(requirements)}: it exited with code {code}."
    hint = "See that pip on this node can reach what `pip:` names; all that it said is in the job's log."
    return Failure(Cause.USER_ERROR, message, hint, "", expected=True)


def _prune(cache: Path, keep: str) -> None:
    """Remove what nobody asked for in a long time, and nobody holds."""
    for path in cache.glob("*.lock"):
        name = path.stem
        if name == keep or not (cache / name).exists() or not _is_old(path):
            continue
        with path.open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if _is_old(path):  # nobody took it in between
                (cache / name / WHOLE).unlink(missing_ok=True)
                shutil.rmtree(cache / name, ignore_errors=True)


def _is_old(path: Path) -> bool:
    return time.time() - path.stat().st_mtime > UNUSED_SECONDS
