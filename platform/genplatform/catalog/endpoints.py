"""Endpoints: the wishes that model versions be served, and how far they are."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from genplatform.catalog.rows import EndpointRow
from genplatform.catalog.tables import endpoints, insert_new
from genplatform.errors import Conflict


class Endpoints:
    """The endpoints of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    def insert(self, values: dict[str, Any]) -> None:
        """Add one endpoint; raises Conflict when another of that name was added in the meantime."""
        added = insert_new(self._db.dialect.name, endpoints).values(**values).returning(endpoints.c.id)
        if self._db.execute(added).first() is None:
            raise Conflict(f"The endpoint {values['name']} was made by another request just now.", "Try again.")

    def find(self, tenant: str, name: str, *, lock: bool = False) -> EndpointRow | None:
        """Return one endpoint by name."""
        query = sa.select(endpoints).where(endpoints.c.tenant_id == tenant, endpoints.c.name == name)
        row = self._db.execute(query.with_for_update() if lock else query).first()
        return None if row is None else EndpointRow.of(row)

    def all(self, tenant: str | None = None) -> list[EndpointRow]:
        """Return the endpoints of a tenant, or of all."""
        query = sa.select(endpoints)
        if tenant is not None:
            query = query.where(endpoints.c.tenant_id == tenant)
        return [EndpointRow.of(r) for r in self._db.execute(query.order_by(endpoints.c.name))]

    def wish_again(self, row: EndpointRow, values: dict[str, Any]) -> None:
        """Write another wish over an endpoint's: its generation rises."""
        query = sa.update(endpoints).where(endpoints.c.id == row.id)
        self._db.execute(query.values(**values, generation=row.generation + 1))

    def update(self, endpoint_pk: int, *, generation: int, **values: Any) -> bool:
        """Write values, only while that wish is the current one."""
        query = sa.update(endpoints).where(endpoints.c.id == endpoint_pk, endpoints.c.generation == generation)
        return self._db.execute(query.values(**values)).rowcount == 1

    def delete(self, endpoint_pk: int, generation: int) -> bool:
        """Forget an endpoint that nothing serves any more, unless it was wished for again."""
        query = sa.delete(endpoints).where(endpoints.c.id == endpoint_pk, endpoints.c.generation == generation)
        return self._db.execute(query).rowcount == 1
