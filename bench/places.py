"""Where things are measured: fresh databases as durable as the platform's own, and processes that end with us."""

from __future__ import annotations

import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, Popen

import psutil

from genplatform import settings
from genplatform.catalog import migrate

# The servers of the tests serve here too.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from postgres import PostgresServer
from redis_server import RedisServer, binary
from whole_platform import WholePlatform

DATABASES = ("sqlite", "postgresql")
TOKEN = "a-token-of-measurements"  # noqa: S105 - of servers that live for a minute
START_SECONDS = 60.0


@contextmanager
def folder() -> Iterator[Path]:
    """Give a folder on the disk that temporary files lie on; it goes at the end."""
    made = Path(tempfile.mkdtemp(prefix="genctl-bench-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextmanager
def database(kind: str) -> Iterator[str]:
    """Give the URL of a fresh migrated catalog: SQLite, or a PostgreSQL server of its own that syncs each commit."""
    with ExitStack() as stack:
        if kind == "sqlite":
            url = f"sqlite:///{stack.enter_context(folder()) / 'catalog.db'}"
        else:
            server = stack.enter_context(PostgresServer(durable=True))
            url = server.url(server.database())
        migrate.upgrade(url)
        yield url


@contextmanager
def redis() -> Iterator[str]:
    """Give the URL of a Redis of its own."""
    with RedisServer() as server:
        yield server.url


@contextmanager
def redis_on_a_port() -> Iterator[str]:
    """Give the URL of a Redis on a loopback port, which some clients want; it logs what it does, as ours."""
    with folder() as home, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        options = ["--bind", "127.0.0.1", "--port", str(port), "--appendonly", "yes", "--dir", str(home)]
        with open(home / "log", "wb") as log, Popen([str(binary()), *options], stdout=log) as process:
            try:
                _wait_for(port, process, home / "log")
                yield f"redis://127.0.0.1:{port}/0"
            finally:
                process.terminate()


@contextmanager
def postgres() -> Iterator[str]:
    """Give the URL of an empty database on a PostgreSQL of its own that syncs each commit."""
    with PostgresServer(durable=True) as server:
        yield server.url(server.database()).replace("postgresql+psycopg", "postgresql")


@contextmanager
def platform() -> Iterator[settings.Settings]:
    """Give the settings of a whole local platform that is up, in a home of its own."""
    whole = WholePlatform()
    try:
        whole.up()
        yield whole.settings
    finally:
        whole.close()


@contextmanager
def served(kind: str, database_url: str, redis_url: str = "") -> Iterator[Served]:
    """Give a server of `bench.serving` that is up, in a process of its own."""
    with folder() as home, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        env = settings.environment(
            GENCTL_HOME=str(home),
            GENCTL_DATABASE_URL=database_url,
            GENCTL_REDIS_URL=redis_url,
            GENCTL_API_KEY=TOKEN,
        )
        command = [sys.executable, "-m", "bench.serving", kind, str(port)]
        with open(home / "log", "wb") as log, Popen(command, env=env, stdin=PIPE, stdout=log, stderr=log) as process:
            try:
                _wait_for(port, process, home / "log")
                yield Served(port, process.pid)
            finally:
                process.communicate(timeout=30)


@dataclass(frozen=True)
class Served:
    """A server that is up: where it listens, and which process it is."""

    port: int
    pid: int

    def resident(self) -> float:
        """Return how much memory it has now, in MiB."""
        return psutil.Process(self.pid).memory_info().rss / 2**20

    def most_resident(self) -> float:
        """Return the most memory that it ever had, in MiB; where the system does not tell, what it has now."""
        status = Path(f"/proc/{self.pid}/status")
        for line in status.read_text().splitlines() if status.exists() else ():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        return self.resident()


def _wait_for(port: int, process: Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"The server did not come up:\n{log.read_text()}")
