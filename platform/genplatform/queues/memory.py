"""The queues' in-memory twin: the same promises within one process, by a clock that is passed in."""

from __future__ import annotations

import heapq
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from genplatform.domain.keys import JobKey, LeaseKey, ShardKey
from genplatform.domain.times import Clock
from genplatform.queues.keys import MOST_REPORTS
from genplatform.queues.members import decode_report, encode_report, member
from genplatform.queues.seam import Queues, Reports


class MemoryQueues(Queues):
    """The seam in memory. `clock` decides when leases expire. Safe to use from many threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._listeners: list[Callable[[str, int], object]] = []
        self._told = 0  # how many reports there ever were, so that a wipe brings no number again
        self.wipe()

    def wipe(self) -> None:
        """Forget everything, as a server does that lost its data."""
        with self._changed:
            self._woken = False
            self._intake: dict[JobKey, None] = {}
            self._pools: dict[str, _Pool] = {}
            self._leases: dict[LeaseKey, float] = {}
            self._stops: dict[JobKey, str] = {}
            self._reports: deque[str] = deque(maxlen=MOST_REPORTS)

    def ping(self) -> None:
        """Return: memory always answers."""

    def submit(self, jobs: Sequence[JobKey]) -> None:
        """Put ids into the intake and wake the dispatcher."""
        _check(jobs)
        with self._changed:
            for job in jobs:
                self._intake.setdefault(job)
            if jobs:
                self._wake()

    def take_intake(self, limit: int) -> list[JobKey]:
        """Take ids out of the intake, oldest first."""
        with self._changed:
            taken = list(self._intake)[: max(0, limit)]
            for job in taken:
                del self._intake[job]
            return taken

    def wake(self) -> None:
        """Wake whoever waits, or keep the wake for the next who does."""
        with self._changed:
            self._wake()

    def wait_for_wake(self, seconds: float) -> bool:
        """Wait until woken or until `seconds` of real time have passed, whatever the clock says."""
        with self._changed:
            woken = self._changed.wait_for(lambda: self._woken, max(0.0, seconds))
            self._woken = False
            return woken

    def hand_off(self, pool: str, shards: Sequence[ShardKey]) -> int:
        """Offer shards to a pool; return how many are new."""
        _check(shards)
        with self._changed:
            queue = self._pools.setdefault(pool, _Pool())
            added = sum(queue.offer(shard) for shard in shards)
            if added:
                self._wake()
            listeners = list(self._listeners) if added else []
        for heard in listeners:
            heard(pool, added)
        return added

    def hear_offers(self, heard: Callable[[str, int], object], over: threading.Event) -> None:
        """Say of new shards until `over` is set."""
        with self._changed:
            self._listeners.append(heard)
        over.wait()
        with self._changed:
            self._listeners.remove(heard)

    def take_shards(self, pool: str, limit: int) -> list[ShardKey]:
        """Take offered shards, the oldest job's lowest first."""
        with self._changed:
            queue = self._pools.setdefault(pool, _Pool())
            return [queue.take() for _ in range(min(limit, len(queue.offered)))]

    def offered(self, pool: str) -> int:
        """Return how many shards wait for that pool."""
        with self._changed:
            return len(self._pools[pool].offered) if pool in self._pools else 0

    def withdraw(self, pool: str, *jobs: JobKey) -> None:
        """Take all of these jobs' shards off a pool's queue."""
        _check(jobs)
        with self._changed:
            if pool in self._pools:
                self._pools[pool].withdraw(frozenset(jobs))

    def grant(self, leases: Sequence[LeaseKey], seconds: float) -> None:
        """Let leases last until `seconds` from now."""
        _check(leases)
        with self._changed:
            expiry = self._clock() + seconds
            self._leases.update(dict.fromkeys(leases, expiry))

    def renew(self, leases: Sequence[LeaseKey], seconds: float) -> list[LeaseKey]:
        """Lengthen those leases that exist; return those that do not."""
        with self._changed:
            expiry = self._clock() + seconds
            self._leases.update({lease: expiry for lease in leases if lease in self._leases})
            return [lease for lease in leases if lease not in self._leases]

    def release(self, leases: Sequence[LeaseKey]) -> None:
        """Forget leases."""
        with self._changed:
            for lease in leases:
                self._leases.pop(lease, None)

    def expired(self, limit: int) -> list[LeaseKey]:
        """Return expired leases, the longest expired first, without taking them away."""
        with self._changed:
            now = self._clock()
            over = sorted((expiry, str(lease), lease) for lease, expiry in self._leases.items() if expiry <= now)
            return [lease for _, _, lease in over[: max(0, limit)]]

    def missing(self, leases: Sequence[LeaseKey]) -> list[LeaseKey]:
        """Return those of `leases` that are not held."""
        with self._changed:
            return [lease for lease in leases if lease not in self._leases]

    def leases(self) -> set[LeaseKey]:
        """Return the leases that are there."""
        with self._changed:
            return set(self._leases)

    def flag_stop(self, job: JobKey, reason: str) -> None:
        """Ask whoever works on `job` to stop."""
        _check([job])
        with self._changed:
            self._stops[job] = reason

    def clear_stop(self, *jobs: JobKey) -> None:
        """Take the flags away."""
        _check(jobs)
        with self._changed:
            for job in jobs:
                self._stops.pop(job, None)

    def stops(self, jobs: Sequence[JobKey]) -> dict[JobKey, str]:
        """Return the flags that stand for these jobs."""
        with self._changed:
            return {job: self._stops[job] for job in jobs if job in self._stops}

    def flagged(self) -> set[JobKey]:
        """Return the jobs that a flag stands for."""
        with self._changed:
            return set(self._stops)

    def report(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Append JSON documents; past `keys.MOST_REPORTS` the oldest are dropped."""
        texts = [encode_report(entry) for entry in entries]
        with self._changed:
            self._reports.extend(texts)
            self._told += len(texts)

    def read_reports(self, limit: int) -> Reports:
        """Return the oldest entries, leaving them in place."""
        with self._changed:
            texts = [text for text, _ in zip(self._reports, range(limit), strict=False)]
            first = self._told - len(self._reports)
        entries = [entry for text in texts if (entry := decode_report(text)) is not None]
        return Reports(entries, first, first + len(texts))

    def drop_reports(self, read: Reports) -> None:
        """Drop those of the entries that are still there."""
        with self._changed:
            for _ in range(min(read.end - (self._told - len(self._reports)), len(self._reports))):
                self._reports.popleft()

    def close(self) -> None:
        """Return: there is nothing to give back."""

    def _wake(self) -> None:
        self._woken = True
        self._changed.notify()


class _Pool:
    """One pool's queue: a heap of what was offered, some of it taken back since."""

    def __init__(self) -> None:
        self.offered: set[ShardKey] = set()
        self._heap: list[tuple[int, int, str, ShardKey]] = []
        self._ranks: dict[JobKey, int] = {}
        self._sequence = 0

    def offer(self, shard: ShardKey) -> bool:
        if shard in self.offered:
            return False
        if shard.job not in self._ranks:
            self._sequence += 1
            self._ranks[shard.job] = self._sequence
        self.offered.add(shard)
        heapq.heappush(self._heap, (self._ranks[shard.job], shard.shard, str(shard), shard))
        return True

    def take(self) -> ShardKey:
        while True:
            rank, _, _, shard = heapq.heappop(self._heap)
            # An entry of a rank its job no longer has was withdrawn.
            if shard in self.offered and self._ranks.get(shard.job) == rank:
                self.offered.remove(shard)
                return shard

    def withdraw(self, jobs: frozenset[JobKey]) -> None:
        for job in jobs:
            self._ranks.pop(job, None)
        self.offered = {shard for shard in self.offered if shard.job not in jobs}


def _check(keys: Sequence[JobKey] | Sequence[ShardKey] | Sequence[LeaseKey]) -> None:
    for key in keys:
        member(key)
