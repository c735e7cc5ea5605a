"""Who leads: one row a role, with a term number that every dispatcher write carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from genplatform.catalog.tables import leaders

DISPATCHER = "dispatcher"


@dataclass(frozen=True)
class Leader:
    """Who leads until when."""

    holder: str
    term: int
    expires_at: float
    data: dict[str, Any]


class Leaders:
    """The leader rows of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    def current(self, name: str = DISPATCHER) -> Leader | None:
        """Return who leads, or led last."""
        row = self._db.execute(sa.select(leaders).where(leaders.c.name == name)).first()
        return None if row is None else Leader(row.holder, row.term, row.expires_at, row.data)

    def take(self, holder: str, now: float, seconds: float, name: str = DISPATCHER) -> int | None:
        """Take or renew the lease; returns the term when `holder` leads now, else None.

        A holder that comes back within its lease keeps its term; any other opens the next one.
        """
        mine = sa.update(leaders).where(leaders.c.name == name, leaders.c.holder == holder, leaders.c.expires_at > now)
        renewed = self._db.execute(mine.values(expires_at=now + seconds).returning(leaders.c.term)).first()
        if renewed is not None:
            return int(renewed.term)
        lapsed = sa.update(leaders).where(leaders.c.name == name, leaders.c.expires_at <= now)
        values = {"holder": holder, "term": leaders.c.term + 1, "expires_at": now + seconds, "data": {}}
        taken = self._db.execute(lapsed.values(**values).returning(leaders.c.term)).first()
        return None if taken is None else int(taken.term)

    def hold(self, term: int, name: str = DISPATCHER) -> bool:
        """Tell whether `term` is the current one, and keep it so for this transaction."""
        query = sa.update(leaders).where(leaders.c.name == name, leaders.c.term == term)
        return self._db.execute(query.values(term=term)).rowcount == 1

    def give_up(self, holder: str, now: float, name: str = DISPATCHER) -> None:
        """Let the lease lapse now, so that another takes over at once."""
        query = sa.update(leaders).where(leaders.c.name == name, leaders.c.holder == holder)
        self._db.execute(query.values(expires_at=now))

    def tell(self, term: int, data: dict[str, Any], name: str = DISPATCHER) -> None:
        """Record what the leader sees of the engine."""
        query = sa.update(leaders).where(leaders.c.name == name, leaders.c.term == term)
        self._db.execute(query.values(data=data))
