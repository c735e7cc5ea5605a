"""The checkpoint folder of a command, kept across its Runs.

A command knows nothing of us: nobody says when what it wrote is whole. So a copy is taken when
the folder looks the same twice in a row, and it is dropped when the folder changed while it was
taken; at a stop the command has ended, and what lies there is taken as it is.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genplatform.domain import layout
from genplatform.domain.filenames import to_path
from genplatform.domain.keys import RunKey
from genplatform.errors import Conflict, GenctlError, NotFound
from genplatform.store import Store, Stored
from genworkers.commanding.files import Sight, gather, look
from genworkers.context import patiently
from genworkers.outbox import Outbox

log = logging.getLogger(__name__)

FORMAT = 1
FILES = "files"
KEPT = 3
STILL_SECONDS = 0.5


class Damaged(Exception):
    """What lies there is not the checkpoint that was recorded."""


class CheckpointFolder:
    """One Run's folder: `restore` fills it, `keep` stores it where it changed; `watch` keeps it while the Run lasts."""

    def __init__(self, order: Mapping[str, Any], folder: Path, store: Store, outbox: Outbox) -> None:
        self._run = RunKey(order["tenant"], order["job_id"], int(order["run"]))
        self._offered = list(order.get("resume") or ())
        self._folder, self._store, self._outbox = folder, store, outbox
        self._own = f"{layout.job(self._run.job)}/"
        self._saved = [str(one["key"]) for one in self._offered]
        self._step = max([int(one["step"] or 0) for one in self._offered], default=0)
        self._kept: Sight = ()
        self._lock = threading.Lock()

    def restore(self) -> None:
        """Put back the newest checkpoint that is whole."""
        for one in self._offered:
            try:
                self._put_back(one)
            except (Damaged, NotFound) as error:
                self._outbox.log(f"The checkpoint {one['step']} cannot be used: {error}.")
                continue
            self._kept = look(self._folder)
            self._outbox.log(f"Going on from checkpoint {one['step']}: {len(self._kept)} files in its folder.")
            return

    def watch(self, seconds: float, over: threading.Event) -> None:
        """Keep what changed every so often, until it is over; what cannot be kept now is kept later."""
        while not over.wait(seconds):
            # Once it holds still: most files are not whole while they grow.
            while (seen := look(self._folder)) != self._kept:
                if over.wait(STILL_SECONDS):
                    return
                if look(self._folder) == seen:
                    self._try_to_keep()
                    break

    def keep(self) -> int | None:
        """Store what lies there, if it changed; return the number of the newest checkpoint there is."""
        with self._lock:
            now = look(self._folder)
            if now != self._kept and (now or self._step):
                patiently(lambda: self._store_it(steady=False))
        return self._step or None

    def _try_to_keep(self) -> None:
        try:
            with self._lock:
                self._store_it(steady=True)
        except (GenctlError, OSError) as error:
            log.warning("checkpoint_not_kept: %s", error)

    def _store_it(self, *, steady: bool) -> None:
        """Store the folder under a new number. With `steady`, only if it did not change meanwhile."""
        seen = look(self._folder)
        key = layout.checkpoint(self._run, self._step + 1)
        with tempfile.TemporaryDirectory(
            prefix="keep-", dir=self._folder.parent, ignore_cleanup_errors=True
        ) as scratch:
            staged = Path(scratch) / "checkpoint"
            staged.mkdir()
            gathered = gather(self._folder, staged / FILES, f"{key}/{FILES}")
            for name in gathered.passed_over:
                log.warning("not_a_file_of_the_folder: %s", name)
            digests = {f"{FILES}/{name}": _sha256(staged / FILES / name) for name in gathered.names}
            state = json.dumps({"format": FORMAT, "files": digests}, sort_keys=True).encode()
            (staged / layout.STATE).write_bytes(state)
            stored = self._put(staged, key)
        wrote = {s.key.removeprefix(f"{key}/"): s.sha256 for s in stored}
        wrote.pop(layout.STATE, None)
        if wrote != digests or (steady and look(self._folder) != seen):
            self._store.remove(key)  # nobody was told of it
            return
        self._step += 1
        self._kept = seen
        size = sum(s.size for s in stored)
        told = Stored(key, hashlib.sha256(state).hexdigest(), size)
        self._outbox.artifact("checkpoint", told, self._step, then=lambda: self._recorded(key))

    def _put(self, staged: Path, key: str) -> list[Stored]:
        try:
            return self._store.put_tree(staged, key)
        except Conflict:
            # An attempt of this very Run was cut off, or found the folder changing: nobody was told of it.
            self._store.remove(key)
            return self._store.put_tree(staged, key)

    def _put_back(self, one: Mapping[str, Any]) -> None:
        fetched = self._folder.parent / "fetched"
        try:
            patiently(lambda: self._store.fetch_tree(str(one["key"]), fetched))
            text = (fetched / layout.STATE).read_bytes()
            if hashlib.sha256(text).hexdigest() != one["sha256"]:
                raise Damaged(f"{layout.STATE} is not what was recorded")
            for name, digest in json.loads(text)["files"].items():
                if _sha256(fetched / name) != digest:
                    raise Damaged(f"{name} is not what was recorded")
                to = self._folder / to_path(name.removeprefix(f"{FILES}/"))
                to.parent.mkdir(parents=True, exist_ok=True)
                os.replace(fetched / name, to)
        except (OSError, KeyError, ValueError) as error:
            raise Damaged(f"it cannot be read ({type(error).__name__}: {error})") from error
        finally:
            shutil.rmtree(fetched, ignore_errors=True)

    def _recorded(self, key: str) -> None:
        # Only now: recording is fenced, so a run that is not current any more removes nothing.
        self._saved.insert(0, key)
        for old in self._saved[KEPT:]:
            if old.startswith(self._own):
                try:
                    self._store.remove(old)
                except GenctlError as error:
                    log.warning("checkpoint_not_removed: %s", error.message)
        del self._saved[KEPT:]


def _sha256(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
