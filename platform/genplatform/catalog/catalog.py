"""The catalog: transactions, and the repositories one transaction offers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from genplatform.catalog import append, database
from genplatform.catalog.artifacts import Artifacts
from genplatform.catalog.endpoints import Endpoints
from genplatform.catalog.evaluations import Evaluations
from genplatform.catalog.events import Events
from genplatform.catalog.identity import Identity
from genplatform.catalog.jobs import Jobs
from genplatform.catalog.leaders import Leaders
from genplatform.catalog.models import Models
from genplatform.catalog.queued import Queued
from genplatform.catalog.runs import Runs
from genplatform.catalog.shards import Shards
from genplatform.catalog.submissions import Submissions
from genplatform.catalog.tables import identity

# The identity's only row has another number.
NOBODY = 0


class Transaction:
    """One transaction's repositories."""

    def __init__(self, connection: Connection) -> None:
        self.jobs = Jobs(connection)
        self.submissions = Submissions(connection)
        self.queued = Queued(connection)
        self.runs = Runs(connection)
        self.shards = Shards(connection)
        self.artifacts = Artifacts(connection)
        self.models = Models(connection)
        self.evaluations = Evaluations(connection)
        self.endpoints = Endpoints(connection)
        self.events = Events(connection)
        self.leaders = Leaders(connection)
        self.identity = Identity(connection)


class Catalog:
    """The record. `read` and `write` open one transaction each and raise Unavailable when they cannot."""

    def __init__(self, url: str, *, busy_seconds: float = database.BUSY_SECONDS) -> None:
        self.url = url
        self.engine = database.connect(url, busy_seconds=busy_seconds)
        # Whoever asks whether a write is possible should hear soon that it is not.
        soon = min(busy_seconds, database.CHECK_SECONDS)
        self._checker = database.connect(url, busy_seconds=soon, connections=1, pool_seconds=soon)

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

    @property
    def takes_streams(self) -> bool:
        """Whether a transaction takes jobs in while those after them are still being read (`stream_jobs`)."""
        return append.takes_streams(self.engine.dialect)

    def check(self) -> None:
        """Return when the database has our tables and takes a write, of which nothing remains."""
        with database.transaction(self._checker, write=True) as connection:
            # SQLite does not write what an update leaves as it is.
            connection.execute(sa.insert(identity).values(id=NOBODY, incarnation=""))
            connection.execute(sa.delete(identity).where(identity.c.id == NOBODY))

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()
        self._checker.dispose()
