"""Who leads: one row in SQL with a term that every dispatcher write carries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from genplatform.catalog import Transaction
from genplatform.domain.times import LEADER_LEASE_SECONDS
from genplatform.errors import LostLeadership
from genplatform.services.context import Wiring


def lead(w: Wiring, holder: str) -> int | None:
    """Take or renew the dispatcher's lease; returns the term while `holder` leads, else None."""
    with w.catalog.write() as tx:
        return tx.leaders.take(holder, w.clock(), LEADER_LEASE_SECONDS)


def step_down(w: Wiring, holder: str) -> None:
    """Let the lease lapse, so that another dispatcher takes over at once."""
    with w.catalog.write() as tx:
        tx.leaders.give_up(holder, w.clock())


def tell(w: Wiring, term: int, seen: Mapping[str, Any]) -> None:
    """Record what the leader sees of the engine, for `genctl status`."""
    with led(w, term) as tx:
        tx.leaders.tell(term, dict(seen))


@contextmanager
def led(w: Wiring, term: int) -> Iterator[Transaction]:
    """Open a writing transaction of the leader; raises LostLeadership when its term is over."""
    with w.catalog.write() as tx:
        if not tx.leaders.hold(term):
            raise LostLeadership(f"Term {term} of the dispatcher is over.", "Another dispatcher leads now.")
        yield tx
