"""Which record this is: a copy that was restored elsewhere, or later, is another one."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from genplatform.catalog.tables import identity

# The number of the table's only row.
ONLY = 1

# Made once: every word of a node asks it.
_incarnation = sa.select(identity.c.incarnation).where(identity.c.id == ONLY)


class Identity:
    """The identity as one transaction sees it."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    def incarnation(self) -> str:
        """Return the mark that no other record has, not even one restored from a backup of this."""
        return str(self._db.execute(_incarnation).scalar_one())
