"""Submissions: what was made under one idempotency key, as a whole and page by page."""

from __future__ import annotations

from typing import Any

from genplatform.catalog import Submission, Transaction
from genplatform.domain.times import rfc3339
from genplatform.errors import NotFound
from genplatform.services import present
from genplatform.services.context import Wiring
from genplatform.services.jobs import cursor

# How many jobs an answer holds in full.
PAGE = 1000


def show(w: Wiring, tenant: str, key: str) -> dict[str, Any]:
    """Return how many jobs a submission made, and how many stand in each state."""
    with w.catalog.read() as tx:
        found = _found(tx, tenant, key)
        states = tx.submissions.states(found.id)
    return {"key": key, "count": found.count, "states": states, "created_at": rfc3339(found.created_at)}


def jobs(w: Wiring, tenant: str, key: str, *, limit: int = 100, after: str | None = None) -> dict[str, Any]:
    """Return a page of a submission's jobs, in the order in which they were asked for."""
    with w.catalog.read() as tx:
        return page(w, tx, _found(tx, tenant, key), after=cursor(after) or 0, limit=limit)


def page(w: Wiring, tx: Transaction, submission: Submission, *, after: int = 0, limit: int = PAGE) -> dict[str, Any]:
    """Return `{"jobs", "next", "count", "key"}`; `next` is the mark of the page that follows, if one does."""
    rows = tx.submissions.jobs(submission.id, after=after, limit=limit + 1)
    more = str(rows[limit - 1].id) if len(rows) > limit else None
    answer = {"jobs": present.jobs(w, tx, rows[:limit]), "next": more}
    return answer | {"count": submission.count, "key": submission.key}


def _found(tx: Transaction, tenant: str, key: str) -> Submission:
    found = tx.submissions.find(tenant, key)
    if found is None:
        raise NotFound(f"Nothing was submitted with the key {key!r}.", "Keys are those of the Idempotency-Key header.")
    return found
