"""Files that lie elsewhere: what any URL that fsspec knows names, copied into a local folder."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import fsspec
import tenacity

from genplatform.errors import BadRequest, GenctlError, NotFound

TRIES = 3
PIECE = 1 << 20
# What is left to everybody else on the disk where the copy lies.
KEPT_FREE = 256 << 20
# What makes a path a pattern, for whoever opens the copy.
_WILD = re.compile(r"[*?\[]")
# What stands behind a path may be a signature.
_SIGNED = re.compile(r"\?[^\s'\"]*")


def fetch_url(url: str, to: Path, pause: Callable[[float], None]) -> Path:
    """Copy the file that a URL names, or all files below a folder, into the folder `to`; return where it lies.

    Raises NotFound when nothing is there, and BadRequest when it cannot be had, after a few tries with a `pause`.
    """
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_not_exception_type((GenctlError, ImportError)),
        wait=tenacity.wait_exponential(multiplier=0.5, max=5),
        stop=tenacity.stop_after_attempt(TRIES),
        sleep=pause,
        reraise=True,
    )
    try:
        return retrying(_fetch, url, to)
    except GenctlError:
        raise
    except ImportError as error:
        raise BadRequest(f"{_shown(url)} cannot be read: {error}.", "Install that on the nodes.") from error
    except Exception as error:  # every file system has errors of its own
        reason = _SIGNED.sub("?...", str(error)) or type(error).__name__
        raise BadRequest(
            f"{_shown(url)} cannot be read: {reason}.", "Check the URL, and what the node may read."
        ) from error


def _fetch(url: str, to: Path) -> Path:
    name = _WILD.sub("_", PurePosixPath(urlsplit(url).path).name)
    place = to / ("data" if name in ("", "..") else name)
    system, root = fsspec.core.url_to_fs(url)
    try:
        if system.isfile(root):
            _copy(system, root, place)
            return place
        found = [name for name in system.find(root) if not name.endswith("/")]
    except FileNotFoundError:
        found = []
    if not found:
        raise NotFound(f"There is nothing at {_shown(url)}.", "Check the URL.")
    for one in sorted(found):
        inside = PurePosixPath(one.removeprefix(root).lstrip("/"))
        if not inside.parts or ".." in inside.parts or "\0" in one or "\\" in one:
            raise BadRequest(f"{_shown(url)} holds a file whose name leads out of it: {ascii(one)[:200]}.")
        _copy(system, one, place / inside)
    return place


def _copy(system: Any, name: str, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    with system.open(name, "rb") as source, to.open("wb") as target:
        while piece := source.read(PIECE):
            if shutil.disk_usage(to.parent).free - KEPT_FREE < len(piece):
                raise BadRequest(f"There is no room for {ascii(name)[:200]} on the node.", f"Make room in {to.parent}.")
            target.write(piece)


def _shown(url: str) -> str:
    return url.partition("?")[0][:300]
