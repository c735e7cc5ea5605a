"""Idempotency keys: a request that is sent again, because its answer was lost, makes nothing anew."""

from __future__ import annotations

from typing import Any

from genplatform.errors import BadRequest, Conflict
from genplatform.services import submissions
from genplatform.services.context import Wiring

LONGEST_KEY = 255


class SameKey(Exception):
    """Another request with this key was committed in the meantime."""


def check(key: str | None) -> None:
    """Raise BadRequest for a key that the record has no room for."""
    if key is not None and not 0 < len(key) <= LONGEST_KEY:
        raise BadRequest(f"The idempotency key has {len(key)} characters.", f"Give 1 to {LONGEST_KEY}.")


def answered(w: Wiring, tenant: str, key: str | None, asked: str) -> dict[str, Any] | None:
    """Return the jobs that this key made before, of very many the first.

    Raises Conflict when another thing was `asked` with it.
    """
    if key is None:
        return None
    with w.catalog.read() as tx:
        earlier = tx.submissions.find(tenant, key)
        if earlier is None:
            return None
        if earlier.body_digest != asked:
            raise Conflict(
                f"The idempotency key {key!r} was used for another request.", "Use a new key for what is new."
            )
        return submissions.page(w, tx, earlier)
