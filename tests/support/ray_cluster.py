"""A lean Ray for tests: one head of its own a session, behind a token, with no dashboard.

`RayCluster` starts `ray start --head --block` as a child that it alone ends; the fixture
`ray_cluster` starts one lazily, once a session, however many test files import it. Ray
reads its token from the environment of the process, so the fixture sets that too; a
subprocess of a test gets it by inheriting (or from `RayCluster.environment`).
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
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOGICAL_CPUS = 4
START_SECONDS = 90.0
STOP_SECONDS = 20.0
# The last line that `ray start --block` prints once everything answers.
READY = "Process exit logs will be saved to"


def free_port() -> int:
    """Return a loopback port that was free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RayCluster:
    """One head node. `address` is what clients connect to; `environment` is what they need in theirs."""

    def __init__(self, cpus: int = LOGICAL_CPUS, port: int | None = None) -> None:
        # Ray puts sockets below this folder, and a socket's path ends at 107 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="gt-", dir="/tmp"))
        self.port = port or free_port()
        self.address = f"127.0.0.1:{self.port}"
        token = self.folder / "token"
        token.write_text(secrets.token_hex(32))
        token.chmod(0o600)
        self.environment: Mapping[str, str] = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_ADDRESS": self.address,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_SERVE_ENABLE_HA_PROXY": "0",
            # The one switch by which Ray keeps to loopback: without it, it takes the machine's own address.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            # Workers import the actor classes of tests/support by name.
            "PYTHONPATH": os.pathsep.join(p for p in (str(ROOT), os.environ.get("PYTHONPATH", "")) if p),
        }
        self._cpus = cpus
        self._process: subprocess.Popen[str] | None = None
        self._said: list[str] = []

    def start(self) -> None:
        """Start the head and return when it answers; raises with what Ray said when it does not."""
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
        command += ["--node-ip-address=127.0.0.1", f"--port={self.port}", f"--num-cpus={self._cpus}", "--num-gpus=0"]
        command += [f"--temp-dir={self.folder / 'r'}", "--object-store-memory=100000000"]
        command += ["--include-dashboard=false", "--disable-usage-stats"]
        # Fixed by default, so that a second cluster on this machine would stumble over the first.
        command += [f"--ray-client-server-port={free_port()}", f"--dashboard-agent-listen-port={free_port()}"]
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        ready = threading.Event()
        threading.Thread(target=self._listen, args=(self._process, ready), daemon=True).start()
        if not ready.wait(START_SECONDS) or self._process.poll() is not None:
            self.stop()
            raise RuntimeError("Ray did not start:\n" + "".join(self._said))

    def _listen(self, process: subprocess.Popen[str], ready: threading.Event) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._said.append(line)
            if READY in line:
                ready.set()
        ready.set()

    def stop(self) -> None:
        """End the head with everything it started, and forget its files."""
        if self._process is not None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
            self._end_group(self._process)
            self._process = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self) -> None:
        """End the head as a crash would: no process of it gets a word. `start` starts a new one on the same port."""
        assert self._process is not None
        self._end_group(self._process)
        self._process = None

    @staticmethod
    def _end_group(process: subprocess.Popen[str]) -> None:
        # Ray's processes share the session that `start_new_session` made.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


_session: RayCluster | None = None


@pytest.fixture(scope="session")
def ray_cluster(request: pytest.FixtureRequest) -> Iterator[RayCluster]:
    """The session's Ray, started at the first use; this process may connect to it."""
    global _session  # noqa: PLW0603 - a fixture that several files import must still start one cluster
    if _session is None:
        cluster = RayCluster()
        os.environ.update(cluster.environment)
        cluster.start()
        _session = cluster
        request.config.add_cleanup(cluster.stop)
    return _session
