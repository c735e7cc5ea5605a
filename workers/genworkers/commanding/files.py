"""The files of a folder that a command wrote, gathered under names that the store can hold."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from genplatform.domain.filenames import to_key
from genplatform.errors import BadRequest
from genplatform.store.keys import check_key

# A folder as it was seen: each file with its size and the time of its last change.
Sight = tuple[tuple[str, int, int], ...]


@dataclass
class Gathered:
    """What was gathered: names as keys. `passed_over` are the paths of what is no plain file of the folder's own."""

    names: list[str] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)


def look(folder: Path) -> Sight:
    """Return what is in a folder now; what goes while it is looked at is not in it."""
    found = []
    for path in _paths(folder):
        try:
            stat = path.stat()
        except OSError:
            continue
        found.append((os.fsdecode(path.relative_to(folder)), stat.st_size, stat.st_mtime_ns))
    return tuple(sorted(found))


def gather(folder: Path, into: Path, prefix: str) -> Gathered:
    """Link the files of `folder` into the new folder `into`, by their names as keys below `prefix`.

    A link to a file in the folder counts as that file; a link that leads out of it, a pipe, a
    socket or a device is passed over. Raises BadRequest for a name that is too long for the store.
    """
    gathered = Gathered()
    into.mkdir()
    whole = folder.resolve()
    for path in sorted(_paths(folder)):
        name = os.fsdecode(path.relative_to(folder))
        real = path.resolve()
        if not real.is_file() or not real.is_relative_to(whole):
            gathered.passed_over.append(name)
            continue
        key = to_key(name)
        try:
            check_key(f"{prefix}/{key}")
        except BadRequest:
            hint = "Give it, and the folders that it lies in, shorter names."
            raise BadRequest(f"The store cannot hold a file of so long a name: {name[:200]!r}.", hint) from None
        to = into / key
        to.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(real, to)
        except OSError:  # a file system without links, or a file of somebody else's
            shutil.copyfile(real, to)
        gathered.names.append(key)
    return gathered


def _paths(folder: Path) -> list[Path]:
    found: list[Path] = []
    for base, folders, names in os.walk(folder):
        found += [Path(base, name) for name in names]
        # A link to a folder is named among the folders, and not entered.
        found += [path for name in folders if (path := Path(base, name)).is_symlink()]
    return found
