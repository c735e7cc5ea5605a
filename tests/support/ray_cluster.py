"""A lean Ray for tests: one head of its own a session, behind a token, on loopback, with no dashboard.

`RayCluster` starts this file as a child that runs the head, obeys `kill`, `start`, `join` and
`leave` on its standard input, and ends all of it when that input ends: when the tests say so and
also when their process dies, however it dies. The environment of the tests' own process stays as it
is; what connects to the cluster is given `RayCluster.environment`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest

LOGICAL_CPUS = 4
STOP_SECONDS = 30.0
# Long enough for any machine; a test that waits so long has failed.
LONG = 60.0
# The last line that `ray start --block` prints once everything answers.
READY = "Process exit logs will be saved to"
NODE = "node"
SUPPORT = Path(__file__).resolve().parent


def free_port() -> int:
    """Return a loopback port that was free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(holds: Callable[[], object], seconds: float = LONG) -> object:
    """Ask until the answer is true, and return it; for what Ray does in its own time."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.05)):
        if answer := holds():
            return answer
        pause.wait(0.05)
    raise AssertionError(f"It did not become so within {seconds:g} seconds.")


class RayCluster:
    """One head node. `address` is what clients connect to; `environment` is what they need in theirs."""

    def __init__(self, cpus: int = LOGICAL_CPUS) -> None:
        # Ray puts sockets below this folder, and a socket's path ends at 107 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="gt-", dir="/tmp"))
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        token = self.folder / "token"
        token.touch(0o600)
        token.write_text(secrets.token_hex(32))
        self.environment = os.environ | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_ADDRESS": self.address,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_SERVE_ENABLE_HA_PROXY": "0",
            # The one switch by which Ray keeps to loopback: without it, it takes the machine's own address.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            # Workers import the actor classes of tests/support by name.
            "PYTHONPATH": os.pathsep.join(p for p in (str(SUPPORT), os.environ.get("PYTHONPATH", "")) if p),
        }
        self._cpus = cpus
        self._owner: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._owner = subprocess.Popen(
            [sys.executable, __file__, str(self.folder), str(self.port), str(self._cpus)],
            env=self.environment,
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
        """Start the head (again, on the same port) and return when it answers."""
        self._ask("start")

    def kill(self) -> None:
        """End the head as a crash would: no process of it gets a word."""
        self._ask("kill")

    def join(self, name: str, cpus: int, **settings: str) -> None:
        """Start a further node on this machine, with settings of its own; returns when it answers."""
        self._ask(" ".join(["join", name, str(cpus), *(f"{key}={value}" for key, value in settings.items())]))

    def leave(self, name: str) -> None:
        """End a further node as a crash would."""
        self._ask(f"leave {name}")

    def _ask(self, order: str) -> None:
        assert self._owner is not None
        assert self._owner.stdin is not None
        assert self._owner.stdout is not None
        self._owner.stdin.write(order + "\n")
        self._owner.stdin.flush()
        said = []
        for line in self._owner.stdout:
            if line == "done\n":
                return
            said.append(line)
        raise RuntimeError(f"The head's owner died at {order!r}:\n" + "".join(said))


@pytest.fixture(scope="session")
def ray_cluster(request: pytest.FixtureRequest) -> RayCluster:
    """The session's Ray, started at the first use: one, however many test files import this fixture."""
    kept = request.config.stash.get(_SESSION, None)
    if kept is None:
        kept = request.config.stash[_SESSION] = RayCluster()
        request.config.add_cleanup(kept.__exit__)
        kept.__enter__()
    return kept


_SESSION = pytest.StashKey[RayCluster]()


def _start(folder: Path, port: str, cpus: str) -> subprocess.Popen[str]:
    """Run a head; returns when it answers."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    command += ["--node-ip-address=127.0.0.1", f"--port={port}", f"--num-cpus={cpus}", "--num-gpus=0"]
    command += [f"--temp-dir={folder / 'r'}", "--object-store-memory=100000000"]
    command += ["--include-dashboard=false", "--disable-usage-stats"]
    # Fixed by default, so that a second cluster on this machine would stumble over the first.
    command += [f"--ray-client-server-port={free_port()}", f"--dashboard-agent-listen-port={free_port()}"]
    return _run(command, {})


def _join(port: str, name: str, cpus: str, *settings: str) -> subprocess.Popen[str]:
    """Run a further node; returns when it answers."""
    command = [sys.executable, __file__, NODE, f"127.0.0.1:{port}", name, cpus]
    return _run(command, dict(setting.split("=", 1) for setting in settings))


def _run(command: list[str], settings: dict[str, str]) -> subprocess.Popen[str]:
    node = subprocess.Popen(
        command,
        env=os.environ | settings,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # the session's group is how all of it is ended at once
    )
    assert node.stdout is not None
    for line in node.stdout:
        if READY in line:
            threading.Thread(target=node.stdout.read, daemon=True).start()
            return node
        print(line, end="", flush=True)
    raise RuntimeError("Ray did not start.")


def _be_a_node(address: str, name: str, cpus: str) -> None:
    """Be a further node on loopback: `ray start` would take the machine's own address for it."""
    from ray._private.node import Node
    from ray._private.parameter import RayParams

    wanted = RayParams(
        gcs_address=address,
        node_ip_address="127.0.0.1",
        node_name=name,
        num_cpus=int(cpus),
        num_gpus=0,
        object_store_memory=100_000_000,
        include_dashboard=False,
        include_log_monitor=False,
        node_manager_port=0,
        min_worker_port=0,
        max_worker_port=0,
    )
    Node(wanted, head=False, shutdown_at_exit=True, spawn_reaper=False)
    print(READY, flush=True)
    threading.Event().wait()


def _kill(head: subprocess.Popen[str]) -> None:
    """End a head at once; Ray's workers, in sessions of their own, end when they miss their raylet."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(head.pid, signal.SIGKILL)
    head.wait()


def _own(folder: Path, port: str, cpus: str) -> None:
    """Obey the orders on standard input until it ends."""
    head: subprocess.Popen[str] | None = None
    nodes: dict[str, subprocess.Popen[str]] = {}
    try:
        for line in sys.stdin:
            order, *words = line.split()
            if order == "start":
                head = _start(folder, port, cpus)
            elif order == "join":
                nodes[words[0]] = _join(port, *words)
            elif order == "leave":
                _kill(nodes.pop(words[0]))
            elif head is not None:
                _kill(head)
            print("done", flush=True)
    finally:
        for process in [*nodes.values(), *([head] if head is not None else [])]:
            _kill(process)  # Ray's own way of stopping takes a quarter of a minute
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    if sys.argv[1] == NODE:
        _be_a_node(*sys.argv[2:])
    else:
        _own(Path(sys.argv[1]), *sys.argv[2:])
