"""Reading the registry of models."""

from __future__ import annotations

from typing import Any

from genplatform.services import lookup, present
from genplatform.services.context import Wiring


def ls(w: Wiring, tenant: str) -> dict[str, Any]:
    """Return every version of every model."""
    with w.catalog.read() as tx:
        return {"models": [present.model(m) for m in tx.models.all(tenant)]}


def show(w: Wiring, tenant: str, ref: str) -> dict[str, Any]:
    """Return one version, with its card and where its files lie."""
    with w.catalog.read() as tx:
        row = lookup.model(tx, tenant, ref)
    files = {"uri": w.store.uri(row.key) if row.key else None, "size": row.size}
    return present.model(row) | {"config": row.config, "code_version": row.code_version, "card": row.card} | files
