"""The seam of the hand-off: what Redis carries, and what its in-memory twin must do alike.

Nothing here is of record. Whatever a method returns is a hint that the catalog confirms or
refuses; whatever is lost here is put back by the reconciler.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from genplatform.domain.keys import JobKey, LeaseKey, ShardKey


class Reports(NamedTuple):
    """Reports as they were read: the entries, the number of the first and the one behind the last."""

    entries: list[dict[str, Any]]
    first: int
    end: int


class Queues(Protocol):
    """Intake, hand-off, leases, stop flags and reports. All calls are synchronous.

    A call is atomic for up to `members.BATCH` things; a longer one goes in batches, each atomic.
    Every method raises `genplatform.errors.Unavailable` when the server cannot be reached; what
    was asked may then have happened or not. A key that would read back as another (a tenant with
    a `/` in it) raises BadRequest.
    """

    def ping(self) -> None:
        """Return when the server answers."""

    # Intake: ids just submitted, so that a dispatcher wakes within milliseconds.
    def submit(self, jobs: Sequence[JobKey]) -> None:
        """Put ids into the intake (each at most once) and wake the dispatcher."""

    def take_intake(self, limit: int) -> list[JobKey]:
        """Take up to `limit` ids out of the intake, oldest first."""

    def wake(self) -> None:
        """Wake whoever waits in `wait_for_wake`; a wake nobody waits for is kept for the next (only one)."""

    def wait_for_wake(self, seconds: float) -> bool:
        """Wait until woken or until `seconds` have passed; tell whether woken."""

    # Hand-off: one queue a pool of workers, members at most once, oldest job and lowest shard first.
    def hand_off(self, pool: str, shards: Sequence[ShardKey]) -> int:
        """Offer shards to a pool; those already offered stay where they are. Returns how many are new.

        A job's age is that of its first offer to this pool since it was last withdrawn. When any
        is new, whoever waits in `wait_for_wake` is woken.
        """

    def hear_offers(self, heard: Callable[[str, int], object], over: threading.Event) -> None:
        """Call `heard(pool, count)` whenever so many new shards were offered to a pool, until `over` is set.

        What is offered before this listens, or while the server is away, is not heard.
        """

    def take_shards(self, pool: str, limit: int) -> list[ShardKey]:
        """Take up to `limit` offered shards."""

    def offered(self, pool: str) -> int:
        """Return how many shards wait for that pool."""

    def withdraw(self, pool: str, *jobs: JobKey) -> None:
        """Take all of these jobs' shards, of any run, off a pool's queue."""

    # Leases: expiry by the server's clock.
    def grant(self, leases: Sequence[LeaseKey], seconds: float) -> None:
        """Let leases last until `seconds` from now; the last grant counts, and one of 0 or less is expired at once."""

    def renew(self, leases: Sequence[LeaseKey], seconds: float) -> list[LeaseKey]:
        """Lengthen those leases that exist, expired or not; return those that do not."""

    def release(self, leases: Sequence[LeaseKey]) -> None:
        """Forget leases."""

    def expired(self, limit: int) -> list[LeaseKey]:
        """Return up to `limit` expired leases, the longest expired first, without taking them away."""

    def missing(self, leases: Sequence[LeaseKey]) -> list[LeaseKey]:
        """Return those of `leases` that are not there; one that expired and was not released still is."""

    def leases(self) -> set[LeaseKey]:
        """Return the leases that are there, expired or not; one that comes or goes meanwhile may be among them."""

    # Stop flags: what a worker is told with its next heartbeat.
    def flag_stop(self, job: JobKey, reason: str) -> None:
        """Ask whoever works on `job` to stop: `cancel`, `pause` or `shutdown`."""

    def clear_stop(self, *jobs: JobKey) -> None:
        """Take the flags of these jobs away."""

    def stops(self, jobs: Sequence[JobKey]) -> dict[JobKey, str]:
        """Return the flags that stand for these jobs; of several for one job, the last."""

    def flagged(self) -> set[JobKey]:
        """Return the jobs that a flag stands for; one that comes or goes meanwhile may be among them."""

    # Reports: progress, metrics and log lines on their way to the catalog.
    def report(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Append JSON documents; past a bound the oldest are dropped."""

    def read_reports(self, limit: int) -> Reports:
        """Return up to `limit` oldest entries, leaving them in place."""

    def drop_reports(self, read: Reports) -> None:
        """Drop those of the entries that are still there: nothing else, whoever read or wiped meanwhile."""

    def close(self) -> None:
        """Give the connections back."""
