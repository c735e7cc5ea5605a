"""Who leads: one row a role, with a term number that every dispatcher write carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from genplatform.catalog.tables import leaders

DISPATCHER = "dispatcher"

# Made once: every round and every write of a dispatcher asks these.
_of_role = leaders.c.name == sa.bindparam("role")
_current = sa.select(leaders).where(_of_role)
_renew = (
    sa.update(leaders)
    .where(_of_role, leaders.c.holder == sa.bindparam("who"), leaders.c.expires_at > sa.bindparam("now"))
    .values(expires_at=sa.bindparam("until"))
    .returning(leaders.c.term)
)
_lapsed = leaders.c.expires_at <= sa.bindparam("now")
_as_seen = (leaders.c.term == sa.bindparam("of")) & (leaders.c.expires_at == sa.bindparam("seen"))
_take, _take_seen = (
    sa.update(leaders)
    .where(_of_role, over)
    .values(holder=sa.bindparam("who"), term=leaders.c.term + 1, expires_at=sa.bindparam("until"), data={})
    .returning(leaders.c.term)
    for over in (_lapsed, _as_seen)
)
_hold = sa.update(leaders).where(_of_role, leaders.c.term == sa.bindparam("of")).values(term=sa.bindparam("of"))
_tell = sa.update(leaders).where(_of_role, leaders.c.term == sa.bindparam("of")).values(data=sa.bindparam("told"))


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
        row = self._db.execute(_current, {"role": name}).first()
        return None if row is None else Leader(row.holder, row.term, row.expires_at, row.data)

    def renew(self, holder: str, now: float, seconds: float, name: str = DISPATCHER) -> int | None:
        """Lengthen the lease of `holder`; returns its term, None when it has none that lasts until now."""
        asked = {"role": name, "who": holder, "now": now, "until": now + seconds}
        renewed = self._db.execute(_renew, asked).first()
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
        asked = {"role": name, "who": holder, "until": now + seconds}
        if seen is None:
            taken = self._db.execute(_take, asked | {"now": now}).first()
        else:
            taken = self._db.execute(_take_seen, asked | {"of": seen.term, "seen": seen.expires_at}).first()
        return None if taken is None else int(taken.term)

    def hold(self, term: int, name: str = DISPATCHER) -> bool:
        """Tell whether `term` is the current one, and keep it so for this transaction."""
        return self._db.execute(_hold, {"role": name, "of": term}).rowcount == 1

    def give_up(self, holder: str, now: float, name: str = DISPATCHER) -> None:
        """Let the lease lapse now and be nobody's, so that another takes over at once."""
        query = sa.update(leaders).where(leaders.c.name == name, leaders.c.holder == holder)
        self._db.execute(query.values(expires_at=now, holder=""))

    def tell(self, term: int, data: dict[str, Any], name: str = DISPATCHER) -> None:
        """Record what the leader sees of the engine."""
        self._db.execute(_tell, {"role": name, "of": term, "told": data})
