"""The actor of one Run of a command: it starts it, listens to it, keeps its files, and says how it ended."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from genplatform.domain import layout
from genplatform.domain.keys import RunKey
from genplatform.domain.paths import is_within
from genplatform.errors import BadRequest
from genplatform.store import Store
from genworkers import pip_environments
from genworkers.commanding import endings
from genworkers.commanding.child import Child, NotStarted
from genworkers.commanding.files import gather
from genworkers.commanding.kept import CheckpointFolder
from genworkers.commanding.listening import Listening
from genworkers.commanding.surroundings import Folders, environment, installing, of_pip
from genworkers.context import patiently
from genworkers.run import OneRun
from genworkers.scratch import scratch
from genworkers.stop import CANCEL, LOST, PAUSE

log = logging.getLogger(__name__)

MOST_FILES = 5_000
# Between the wish that a command ends and its end by force; the platform's own patience is longer, so that there
# is time left to keep its checkpoint folder.
GRACE_SECONDS = {LOST: 0.0, CANCEL: 5.0, PAUSE: 30.0}
GRACE = 8.0
# What holds the command's output open although all of its processes have ended cannot be waited for.
LAST_WORDS_SECONDS = 5.0


class CommandActor(OneRun):
    """Executes one Run of a command."""

    word_every = 0.2

    def __init__(self, order: Mapping[str, Any]) -> None:
        super().__init__(order)
        self._asked: str | None = None  # why the command was asked to end, once it was

    def _work(self) -> str:
        # A program may leave what cannot be removed, and its Run is no worse for it.
        with scratch("command") as place:
            return self._run_in(Folders(place.resolve()))

    def _run_in(self, folders: Folders) -> str:
        folders.make()
        store = Store(self._order["store_url"])
        kept = CheckpointFolder(self._order, folders.checkpoint, store, self._outbox)
        kept.restore()
        memory = endings.OutOfMemory()
        argv = _words(self._order)
        listening = Listening(self._outbox, folders.transcript)
        where = _where(self._order, folders)
        with ExitStack() as held:
            try:
                python = self._install(folders, listening, held)
                child = Child(argv, where, environment(self._order, folders, python))
            except NotStarted as error:
                return self._fail(endings.refused(error, argv[0]))
            except pip_environments.Stopped:
                self._finish_log(listening, store)
                return self._stopped(str(self._stop.reason), kept)
            except pip_environments.NotBuilt as error:
                self._finish_log(listening, store)
                return self._fail(endings.not_built(error.failure, listening.last_words()))
            code, stopped, transcript = self._watch(child, listening, kept)
        if transcript is not None and self._stop.reason != LOST:
            self._keep_log(transcript, store)
        if stopped is not None or self._stop.reason in {LOST, CANCEL}:
            return self._stopped(stopped or str(self._stop.reason), kept)
        kept.keep()
        if code != 0:
            return self._fail(endings.failure(code, listening.last_words(), out_of_memory=memory.happened()))
        return self._publish(folders, store)

    def _install(self, folders: Folders, listening: Listening, held: ExitStack) -> Path | None:
        """Return the interpreter of the environment that the job's `pip:` asks for, held meanwhile; None without."""
        wanted = self._order["pip"]
        if not wanted:
            return None
        around = installing(self._order, folders)
        name = pip_environments.digest(wanted, of_pip(self._order))

        def execute(argv: Sequence[str]) -> int | None:
            listening.between(LAST_WORDS_SECONDS)
            child = Child(argv, folders.temporary, around)
            listening.start(child)
            over = threading.Event()
            ending = threading.Thread(target=self._end_when_asked, args=(child, listening, over), daemon=True)
            ending.start()
            code = child.wait()
            over.set()
            ending.join()
            if code is None and self._asked is None:
                raise pip_environments.NotBuilt(endings.failure(None, (), out_of_memory=False))
            return None if self._asked is not None else code

        cache = pip_environments.cache_folder()
        environment_of_it = pip_environments.take(cache, name, wanted, execute, self._stop.wait)
        held.callback(environment_of_it.close)
        listening.between(LAST_WORDS_SECONDS)
        return environment_of_it.python

    def _finish_log(self, listening: Listening, store: Store) -> None:
        transcript = listening.finish(LAST_WORDS_SECONDS)
        if transcript is not None and self._stop.reason != LOST:
            self._keep_log(transcript, store)

    def _watch(
        self, child: Child, listening: Listening, kept: CheckpointFolder
    ) -> tuple[int | None, str | None, Path | None]:
        """Return the command's code, why it was asked to stop before it ended, if it was, and what it printed."""
        over = threading.Event()
        every = float(self._order["checkpoint_every"])
        threads = [
            threading.Thread(target=kept.watch, args=(every, over), name="kept", daemon=True),
            threading.Thread(target=self._end_when_asked, args=(child, listening, over), name="stopping", daemon=True),
        ]
        listening.start(child)
        for thread in threads:
            thread.start()
        code = child.wait()
        over.set()
        for thread in threads:
            thread.join()
        return code, self._asked, listening.finish(LAST_WORDS_SECONDS)

    def _end_when_asked(self, child: Child, listening: Listening, over: threading.Event) -> None:
        """Ask the command to end when the Run is asked to stop, and end it by force after its grace."""
        while not self._stop.wait(0.1):
            if over.is_set():
                return
        if over.is_set():
            return
        reason = str(self._stop.reason)
        self._asked = reason
        listening.say(f"Asked to stop ({reason}): its processes are sent SIGTERM.")
        child.terminate()
        if not over.wait(GRACE_SECONDS.get(reason, GRACE)):
            listening.say("It did not end by itself in time: its processes are killed.")
            child.kill()

    def _stopped(self, reason: str, kept: CheckpointFolder) -> str:
        step = None if reason in {LOST, CANCEL} else kept.keep()
        return self._let_go(reason, step)

    def _publish(self, folders: Folders, store: Store) -> str:
        key = layout.files(RunKey(self._order["tenant"], self._order["job_id"], int(self._order["run"])))
        gathered = gather(folders.output, folders.scratch / "published", key)
        for name in gathered.passed_over:
            self._outbox.log(f"Not published, because it is no file of the output folder's own: {name}")
        if len(gathered.names) > MOST_FILES:
            raise BadRequest(
                f"It left {len(gathered.names):,} files in its output folder; {MOST_FILES:,} can be published.",
                "Let it pack them into archives.",
            )
        stored = patiently(lambda: store.put_tree(folders.scratch / "published", key)) if gathered.names else []
        self._deliver()
        if self._stop.reason in {LOST, CANCEL}:
            return self._let_go(self._stop.reason, None)
        self._client.publish({"kind": "files", **self._ids, "files": [one.as_json() for one in stored]})
        log.info("files_published count=%d", len(stored))
        return "published"


def _words(order: Mapping[str, Any]) -> list[str]:
    """Return the program and its arguments; a line for a shell is what the job file asked for."""
    command = order["command"]
    return ["/bin/sh", "-c", command] if order["shell"] else list(command)


def _where(order: Mapping[str, Any], folders: Folders) -> Path:
    """Return the folder to run in; raises BadRequest for one that is not there, or that jobs may not name."""
    if order["workdir"] is None:
        return folders.work
    folder = Path(order["workdir"])
    if not folder.is_dir():
        raise BadRequest(
            f"There is no folder {folder} on this node.", "See that it exists there, or leave workdir out."
        )
    if not is_within(str(folder.resolve()), order["folders"]):
        raise BadRequest(f"The folder {folder} leads out of those that jobs may name.", "Name it by its real path.")
    return folder
