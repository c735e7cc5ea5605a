"""Who leads: one row in SQL with a term that every dispatcher write carries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from genplatform.catalog import Leader, Transaction
from genplatform.domain.times import LEADER_LEASE_SECONDS, Clock
from genplatform.errors import LostLeadership
from genplatform.services.context import Wiring

# Clocks that run into each other's times by no more than this were not set.
CLOCK_SECONDS = 1.0


class Watch:
    """What a dispatcher sees of the lease while another holds it, timed by a clock that nobody sets.

    A lease ends by its holder's clock, which may be put forward or back, and so may ours. It is over once
    nobody has renewed it for as long as it lasts; sooner, when it is over by both clocks and neither was set.
    """

    def __init__(self, steady: Clock) -> None:
        self._steady = steady
        self._seen: tuple[int, float] | None = None
        self._since = self._at = 0.0
        self._clocks_agree = False

    def is_over(self, lease: Leader, now: float) -> bool:
        """Look at the lease once more; tell whether it is over."""
        seen = (lease.term, lease.expires_at)
        if seen != self._seen:
            # The first look may meet a lease that ended long ago; one that was just renewed has not.
            self._clocks_agree = self._seen is None or now < lease.expires_at <= now + LEADER_LEASE_SECONDS
            self._seen, self._since, self._at = seen, self._steady(), now
        waited = self._steady() - self._since
        if not lease.holder or waited >= LEADER_LEASE_SECONDS:
            return True
        clock_was_set = abs(now - self._at - waited) > CLOCK_SECONDS
        return lease.expires_at <= now and self._clocks_agree and not clock_was_set


def lead(w: Wiring, holder: str, watch: Watch | None = None) -> int | None:
    """Take or renew the dispatcher's lease; returns the term while `holder` leads, else None.

    Another's lease is over when the `watch` says so; without one, when the clock does.
    """
    now = w.clock()
    with w.catalog.write() as tx:
        if watch is None:
            return tx.leaders.take(holder, now, LEADER_LEASE_SECONDS)
        term = tx.leaders.renew(holder, now, LEADER_LEASE_SECONDS)
        lease = tx.leaders.current() if term is None else None
        if lease is None or not (lease.holder == holder or watch.is_over(lease, now)):
            return term
        return tx.leaders.take(holder, now, LEADER_LEASE_SECONDS, seen=lease)


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
