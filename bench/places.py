"""Where things are measured: fresh databases as durable as the platform's own, and processes that end with us."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from genplatform.catalog import migrate

# The servers of the tests serve here too.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from postgres import PostgresServer

DATABASES = ("sqlite", "postgresql")


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
