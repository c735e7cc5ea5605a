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

    def renew(self, holder: str, now: float, seconds: float, name: str = DISPATCHER) -> int | None:
        """Lengthen the lease of `holder`; returns its term, None when it has none that lasts until now."""
        mine = sa.update(leaders).where(leaders.c.name == name, leaders.c.holder == holder, leaders.c.expires_at > now)
        renewed = self._db.execute(mine.values(expires_at=now + seconds).returning(leaders.c.term)).first()
        return None if renewed is None else int(renewed.term)

    def take(
        self, holder: str, now: float, seconds: float, name: str = DISPATCHER, *, seen: Leader | None = None
    ) -> int | None:
        """Take or renew the lease; returns the term when `holder` leads now, else None.

        A holder that comes back within its lease keeps its term. Any other opens the next one, once the
        lease is over by `now`; or while it is still as it was `seen` by who knows that it is over.
        """
        term = self.renew(holder, now, seconds, name)
        if term is not None:
            return term
        over = leaders.c.expires_at <= now
        if seen is not None:
            over = (leaders.c.term == seen.term) & (leaders.c.expires_at == seen.expires_at)
        lapsed = sa.update(leaders).where(leaders.c.name == name, over)
        values = {"holder": holder, "term": leaders.c.term + 1, "expires_at": now + seconds, "data": {}}
        taken = self._db.execute(lapsed.values(**values).returning(leaders.c.term)).first()
        return None if taken is None else int(taken.term)

    def hold(self, term: int, name: str = DISPATCHER) -> bool:
        """Tell whether `term` is the current one, and keep it so for this transaction."""
        query = sa.update(leaders).where(leaders.c.name == name, leaders.c.term == term)
        return self._db.execute(query.values(term=term)).rowcount == 1

    def give_up(self, holder: str, now: float, name: str = DISPATCHER) -> None:
        """Let the lease lapse now and be nobody's, so that another takes over at once."""
        query = sa.update(leaders).where(leaders.c.name == name, leaders.c.holder == holder)
        self._db.execute(query.values(expires_at=now, holder=""))

    def tell(self, term: int, data: dict[str, Any], name: str = DISPATCHER) -> None:
        """Record what the leader sees of the engine."""
        query = sa.update(leaders).where(leaders.c.name == name, leaders.c.term == term)
        self._db.execute(query.values(data=data))
