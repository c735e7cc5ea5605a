"""The catalog: transactions, and the repositories one transaction offers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from genplatform.catalog import database
from genplatform.catalog.artifacts import Artifacts
from genplatform.catalog.endpoints import Endpoints
from genplatform.catalog.events import Events
from genplatform.catalog.jobs import Jobs
from genplatform.catalog.leaders import Leaders
from genplatform.catalog.models import Models
from genplatform.catalog.runs import Runs
from genplatform.catalog.shards import Shards


class Transaction:
    """One transaction's repositories."""

    def __init__(self, connection: Connection) -> None:
        self.jobs = Jobs(connection)
        self.runs = Runs(connection)
        self.shards = Shards(connection)
        self.artifacts = Artifacts(connection)
        self.models = Models(connection)
        self.endpoints = Endpoints(connection)
        self.events = Events(connection)
        self.leaders = Leaders(connection)


class Catalog:
    """The record. `read` and `write` open one transaction each and raise Unavailable when they cannot."""

    def __init__(self, url: str, *, busy_seconds: float = database.BUSY_SECONDS) -> None:
        self.url = url
        self.engine = database.connect(url, busy_seconds=busy_seconds)

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Open a transaction that only reads."""
        with database.transaction(self.engine, write=False) as connection:
            yield Transaction(connection)

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """Open a transaction that writes: all of it is committed at the end, or nothing."""
        with database.transaction(self.engine, write=True) as connection:
            yield Transaction(connection)

    def check(self) -> None:
        """Return when the database answers and has our tables."""
        with database.transaction(self.engine, write=False) as connection:
            connection.execute(sa.text("SELECT count(*) FROM leaders"))

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()
