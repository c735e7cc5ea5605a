"""Real API processes for tests: started, killed and started again as a test says, or dying at a point it names.

`ApiOwner` starts this file as a child that imports the platform once, and forks for each start a
process that runs the shipped verb `api`: a start costs a fraction of a second, so that a test can afford
many. The owner reads its orders from standard input; when that ends, however the tests end, it
ends itself and every process it started.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Self

import httpx
from local_home import eventually

from genctl import Client
from genplatform.catalog import Catalog, JobRow
from genplatform.settings import Settings

TOKEN = "a-token-of-tests"
STOP_SECONDS = 20.0
LONG_PATIENCE = 60.0


class ApiOwner:
    """The parent of all API processes of a session."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a Ctrl-C at the terminal is the tests' to handle; and one group to end
        )
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            process, self._process = self._process, None
            process.communicate(timeout=STOP_SECONDS)

    def start(self, order: Mapping[str, Any]) -> int:
        """Start an API process; return its pid."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@dataclass
class ApiProcess:
    """One API over a home, at one address through all its lives. `log` is what they wrote."""

    owner: ApiOwner
    home: Path
    redis: str
    log: Path
    database: str = ""
    busy_seconds: float | None = None
    pid: int = 0

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self._held = socket.socket()
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind(("127.0.0.1", 0))
        self.port: int = self._held.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.settings = Settings(home=self.home, url=self.url, api_key=TOKEN, database_url=self.database)
        if sys.platform != "linux":
            self._held.close()  # there, nobody can listen at an address that another socket is bound to

    @property
    def env(self) -> dict[str, str]:
        """What the API, and nothing of the tests' own surroundings, is told."""
        told = {"GENCTL_HOME": str(self.home), "GENCTL_API_KEY": TOKEN, "GENCTL_REDIS_URL": self.redis}
        return told | ({"GENCTL_DATABASE_URL": self.database} if self.database else {})

    def start(self, fault: str = "") -> None:
        """Start it (again), perhaps to die at one of `FAULTS`; return when it answers."""
        order = {"env": self.env, "port": self.port, "log": str(self.log), "fault": fault}
        self.pid = self.owner.start(order | {"busy_seconds": self.busy_seconds})
        eventually(self._answers)

    def kill(self) -> None:
        """Kill it with SIGKILL and return when it is gone."""
        os.kill(self.pid, signal.SIGKILL)
        self.gone()

    def gone(self) -> None:
        """Return when it is gone."""
        eventually(lambda: not self.alive())
        self.pid = 0

    def alive(self) -> bool:
        if not self.pid:
            return False
        with suppress(ProcessLookupError):
            os.kill(self.pid, 0)
            return True
        return False

    def close(self) -> None:
        if self.alive():
            self.kill()
        self._held.close()

    def client(self, **options: Any) -> Client:
        """Return a client that waits out what a test does to the API."""
        return Client(settings=self.settings, **({"patience": LONG_PATIENCE} | options))

    def type(self, *arguments: str, stdin: str = "") -> subprocess.Popen[str]:
        """Type a command: the real command line in a process of its own, which ends by itself."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GENCTL_")}
        told = {"GENCTL_HOME": str(self.home), "GENCTL_URL": self.url, "GENCTL_API_KEY": TOKEN, "NO_COLOR": "1"}
        process = subprocess.Popen(
            [sys.executable, "-m", "genctl", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=kept | told,
        )
        assert process.stdin is not None
        process.stdin.write(stdin)
        process.stdin.close()
        process.stdin = None
        return process

    def ready(self) -> dict[str, Any]:
        """Return what /readyz says: its status and its parts."""
        answer = httpx.get(f"{self.url}/readyz", timeout=60, trust_env=False)
        return {"status": answer.status_code} | answer.json()["parts"]

    def rows(self) -> list[JobRow]:
        """Return every job of the record, as it lies in the database."""
        catalog = Catalog(self.settings.database)
        try:
            with catalog.read() as tx:
                return tx.jobs.page("default", states=(), queue=None, before=None, limit=1_000_000)
        finally:
            catalog.close()

    def _answers(self) -> bool:
        assert self.alive(), self.log.read_text()[-4000:]
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5):
            return True
        return False


# What runs in the owner and in its children.


def _die(*_: object) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("SIGKILL returned")


def _die_before_commit() -> None:
    _around_write(before=_die, after=lambda: None)


def _die_after_commit() -> None:
    _around_write(before=lambda: None, after=_die)


def _around_write(before: Callable[[], object], after: Callable[[], object]) -> None:
    write = Catalog.write

    @contextmanager
    def dying(self: Catalog) -> Iterator[Any]:
        with write(self) as tx:
            yield tx
            before()
        after()

    Catalog.write = dying  # type: ignore[method-assign, assignment]


def _die_after_hint() -> None:
    from genplatform.queues import RedisQueues

    submit = RedisQueues.submit

    def dying(self: RedisQueues, jobs: Any) -> None:
        submit(self, jobs)
        _die()

    RedisQueues.submit = dying  # type: ignore[method-assign]


# The points at which an API kills itself with SIGKILL while it serves its first submit.
FAULTS: dict[str, Callable[[], None]] = {
    "before the commit": _die_before_commit,
    "after the commit, before Redis is told": _die_after_commit,
    "after Redis is told, before the answer": _die_after_hint,
}


def _serve(order: Mapping[str, Any]) -> int:
    """Become an API process."""
    from genplatform.__main__ import main

    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    for name in [name for name in os.environ if name.startswith("GENCTL_")]:
        del os.environ[name]
    os.environ.update(order["env"])
    if order["busy_seconds"] is not None:
        assert Catalog.__init__.__kwdefaults__ is not None
        Catalog.__init__.__kwdefaults__["busy_seconds"] = order["busy_seconds"]
    if order["fault"]:
        FAULTS[order["fault"]]()
    return main(["--debug", "api", "--port", str(order["port"])])


def _own() -> None:
    """Obey the orders on standard input until it ends; then end everything."""
    import genplatform.api.server  # forked with every API, so that none has to
    import genplatform.assembly  # noqa: F401

    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = _serve(json.loads(line))
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(code)
        print(pid, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # what ends is gone at once, and nobody needs to be asked
    try:
        _own()
    finally:
        os.killpg(0, signal.SIGKILL)
