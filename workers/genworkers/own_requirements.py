"""What a recipe of one's own says that it needs: inline metadata of its module (PEP 723), installed by pip once a node.

    # /// script
    # dependencies = ["einops==0.8.1"]
    # ///

It travels in the code, so whoever trains with that code, draws from its models or judges them has the same. What the
node has already is used as it is; of one package a process can hold one version, and the platform's own comes first.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
import sys
import tempfile
import threading
import time
import tomllib
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from genplatform.errors import BadRequest, Unavailable
from genworkers import pip_environments
from genworkers.commanding.child import Child, NotStarted
from genworkers.commanding.endings import with_last

log = logging.getLogger(__name__)

# The expression that PEP 723 gives.
_BLOCK = re.compile(r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$")
LAST_LINES = 10


def declared(source: str, title: str) -> list[str]:
    """Return the requirements that a module declares, in its order; raises BadRequest for a block that says none."""
    blocks = [found for found in _BLOCK.finditer(source) if found["type"] == "script"]
    if not blocks:
        return []
    hint = 'Write it as PEP 723 says: # dependencies = ["name==1.0"]'
    if len(blocks) > 1:
        raise BadRequest(f"{title} has {len(blocks)} blocks of script metadata.", hint)
    lines = blocks[0]["content"].splitlines()
    try:
        told = tomllib.loads("\n".join(line[2:] for line in lines)).get("dependencies", [])
        if not isinstance(told, list) or not all(isinstance(one, str) for one in told):
            raise TypeError("dependencies are not a list of texts")
        return [str(Requirement(one)) for one in told]
    except (tomllib.TOMLDecodeError, InvalidRequirement, TypeError) as error:
        raise BadRequest(f"The script metadata of {title} cannot be read: {error}.", hint) from error


def provide(wanted: Sequence[str], title: str, until: ExitStack) -> None:
    """Make what is wanted importable in this process, until `until` is closed.

    Raises BadRequest for what pip cannot install, or what would exchange a package of the platform's own.
    """
    missing = [one for one in wanted if not _is_here(Requirement(one))]
    if not missing:
        return
    name = pip_environments.digest(missing, pip_environments.pip_variables())
    last: deque[str] = deque(maxlen=LAST_LINES)

    def waited(seconds: float) -> bool:
        time.sleep(seconds)  # another process of this node builds it
        return False

    try:
        held = pip_environments.take(
            pip_environments.cache_folder(), name, missing, lambda argv: _execute(argv, last), waited
        )
    except pip_environments.NotBuilt as error:
        message = f"{title} cannot be imported: {with_last(error.failure.message, list(last))}"
        hint = (
            "See that pip on this node can reach what the file's script metadata names; the worker's own log says more."
        )
        raise BadRequest(message, hint) from error
    except (OSError, NotStarted) as error:
        raise Unavailable(
            f"The requirements of {title} could not be installed: {error}", "See the node's disk."
        ) from error
    until.callback(held.close)
    _only_new(held, title)
    sys.path.append(str(held.packages))
    importlib.invalidate_caches()


def _is_here(requirement: Requirement) -> bool:
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return False
    # By an address or with extras it may be another one: pip knows.
    return not requirement.url and not requirement.extras and requirement.specifier.contains(version, prereleases=True)


def _execute(argv: Sequence[str], last: deque[str]) -> int:
    """Run it, with what it prints in this process's log; it does not outlive this process, whatever ends that."""
    child = Child(argv, Path(tempfile.gettempdir()), pip_environments.surroundings())
    listening = [threading.Thread(target=_listen, args=(pipe, last)) for pipe in (child.stdout, child.stderr)]
    for thread in listening:
        thread.start()
    code = child.wait()
    for thread in listening:
        thread.join()
    if code is None:
        raise OSError("its process was ended from outside")
    return code


def _listen(pipe: int, last: deque[str]) -> None:
    with os.fdopen(pipe, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            log.info("pip: %s", line.rstrip())
            last.append(line.rstrip())


def _only_new(held: pip_environments.Environment, title: str) -> None:
    """Raise BadRequest where something was installed that the platform has in another version."""
    for found in metadata.distributions(path=[str(held.packages)]):
        name, version = canonicalize_name(found.metadata["Name"]), found.version
        try:
            here = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        if here != version:
            raise BadRequest(
                f"{title} needs {name} {version}, and genctl runs with {name} {here} itself: a process has one.",
                "Loosen what it asks for, or run it as `kind: command`, which has an environment of its own.",
            )
