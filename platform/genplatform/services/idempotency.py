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


def made(w: Wiring, tenant: str, key: str | None, asked: str) -> dict[str, Any] | None:
    """Return what `answered` does, for what always makes jobs.

    Raises Conflict also when those of this key have been pruned since: a late repetition makes them not again.
    """
    known = answered(w, tenant, key, asked)
    if known is not None and not known["count"]:
        raise Conflict(
            f"The jobs that were made with the idempotency key {key!r} have been pruned since.",
            "They were run then; use a new key to run them again.",
        )
    return known
