"""The queues on a Redis-protocol server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from genplatform.domain.keys import JobKey, LeaseKey, ShardKey, parse_lease
from genplatform.queues import keys
from genplatform.queues.members import BATCH, batches, decode_report, encode_report, member, parsed
from genplatform.queues.seam import Queues, Reports
from genplatform.queues.server import LONGEST_BLOCK_SECONDS, Server

K = TypeVar("K")

# Redis reads a time-out of zero as for ever, and rounds to milliseconds.
SHORTEST_BLOCK_SECONDS = 0.01

REPORTS = [keys.REPORTS, keys.OLDEST_REPORT]


class RedisQueues(Queues):
    """The seam, kept in the server at `url`. Safe to use from many threads.

    Long sequences go in batches: each batch is one atomic act. Members that are no keys, put
    there by others or by another version, are passed over and removed.
    """

    def __init__(self, url: str) -> None:
        self.server = Server(url)

    def ping(self) -> None:
        """Return when the server answers."""
        self.server.call("PING")

    def submit(self, jobs: Sequence[JobKey]) -> None:
        """Put ids into the intake and wake the dispatcher."""
        for batch in batches([member(job) for job in jobs]):
            self.server.act("submit", [keys.INTAKE, keys.SEQUENCE, keys.WAKE], batch)

    def take_intake(self, limit: int) -> list[JobKey]:
        """Take ids out of the intake, oldest first."""
        return _taken(lambda n: self.server.call("ZPOPMIN", keys.INTAKE, n)[::2], JobKey.parse, limit)

    def wake(self) -> None:
        """Wake whoever waits, or keep the wake for the next who does."""
        self.server.act("wake", [keys.WAKE], [])

    def wait_for_wake(self, seconds: float) -> bool:
        """Wait until woken or until `seconds` have passed."""
        if seconds <= 0:
            return self.server.call("LPOP", keys.WAKE) is not None
        left = seconds
        while left > 0:
            block = max(SHORTEST_BLOCK_SECONDS, min(left, LONGEST_BLOCK_SECONDS))
            if self.server.call("BLPOP", keys.WAKE, f"{block:.3f}") is not None:
                return True
            left -= block
        return False

    def hand_off(self, pool: str, shards: Sequence[ShardKey]) -> int:
        """Offer shards to a pool; return how many are new."""
        names = [keys.offers(pool), keys.ranks(pool), keys.SEQUENCE, keys.WAKE, keys.OFFERED]
        texts = [member(shard) for shard in shards]
        return sum(int(self.server.act("hand_off", names, [keys.SHARD_SPAN, pool, *batch])) for batch in batches(texts))

    def hear_offers(self, heard: Callable[[str, int], object], over: threading.Event) -> None:
        """Say of new shards until `over` is set."""
        for told in self.server.hear(keys.OFFERED, over):
            pool, _, count = told.decode().rpartition(" ")
            heard(pool, int(count))

    def take_shards(self, pool: str, limit: int) -> list[ShardKey]:
        """Take offered shards, the oldest job's lowest first."""
        names = [keys.offers(pool), keys.ranks(pool)]
        return _taken(lambda n: self.server.act("take_shards", names, [n, keys.RANKS_KEPT]), ShardKey.parse, limit)

    def offered(self, pool: str) -> int:
        """Return how many shards wait for that pool."""
        return int(self.server.call("ZCARD", keys.offers(pool)))

    def withdraw(self, pool: str, *jobs: JobKey) -> None:
        """Take all of these jobs' shards off a pool's queue."""
        for batch in batches([member(job) for job in jobs]):
            self.server.act("withdraw", [keys.offers(pool), keys.ranks(pool)], [keys.SHARD_SPAN, *batch])

    def grant(self, leases: Sequence[LeaseKey], seconds: float) -> None:
        """Let leases last until `seconds` from now."""
        for batch in batches([member(lease) for lease in leases]):
            self.server.act("grant", [keys.LEASES], [_milliseconds(seconds), *batch])

    def renew(self, leases: Sequence[LeaseKey], seconds: float) -> list[LeaseKey]:
        """Lengthen those leases that exist; return those that do not."""
        lost: list[LeaseKey] = []
        for batch in batches(leases):
            texts = [member(lease) for lease in batch]
            numbers = self.server.act("renew", [keys.LEASES], [_milliseconds(seconds), *texts])
            lost += [batch[number - 1] for number in numbers]
        return lost

    def release(self, leases: Sequence[LeaseKey]) -> None:
        """Forget leases."""
        for batch in batches([member(lease) for lease in leases]):
            self.server.call("ZREM", keys.LEASES, *batch)

    def expired(self, limit: int) -> list[LeaseKey]:
        """Return expired leases, the longest expired first, without taking them away."""
        while limit > 0:
            found: tuple[list[LeaseKey], list[bytes]] = parsed(
                self.server.act("expired", [keys.LEASES], [limit]), parse_lease
            )
            good, bad = found
            if not bad:
                return good
            self.server.call("ZREM", keys.LEASES, *bad)
        return []

    def missing(self, leases: Sequence[LeaseKey]) -> list[LeaseKey]:
        """Return those of `leases` that are not held."""
        absent: list[LeaseKey] = []
        for batch in batches(leases):
            scores = self.server.call("ZMSCORE", keys.LEASES, *(member(lease) for lease in batch))
            absent += [lease for lease, score in zip(batch, scores, strict=True) if score is None]
        return absent

    def leases(self) -> set[LeaseKey]:
        """Return the leases that are there."""
        return self._all("ZSCAN", keys.LEASES, parse_lease, "ZREM")

    def flag_stop(self, job: JobKey, reason: str) -> None:
        """Ask whoever works on `job` to stop."""
        self.server.call("HSET", keys.STOPS, member(job), reason)

    def clear_stop(self, *jobs: JobKey) -> None:
        """Take the flags away."""
        for batch in batches([member(job) for job in jobs]):
            self.server.call("HDEL", keys.STOPS, *batch)

    def stops(self, jobs: Sequence[JobKey]) -> dict[JobKey, str]:
        """Return the flags that stand for these jobs."""
        found: dict[JobKey, str] = {}
        for batch in batches(jobs):
            reasons = self.server.call("HMGET", keys.STOPS, *(member(job) for job in batch))
            found |= {job: raw.decode(errors="replace") for job, raw in zip(batch, reasons, strict=True) if raw}
        return found

    def flagged(self) -> set[JobKey]:
        """Return the jobs that a flag stands for."""
        return self._all("HSCAN", keys.STOPS, JobKey.parse, "HDEL")

    def report(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Append JSON documents; past `keys.MOST_REPORTS` the oldest are dropped."""
        for batch in batches([encode_report(entry) for entry in entries]):
            self.server.act("report", REPORTS, [keys.MOST_REPORTS, *batch])

    def read_reports(self, limit: int) -> Reports:
        """Return the oldest entries, leaving them in place."""
        while limit > 0:
            first, texts = self.server.act("read_reports", REPORTS, [limit])
            found = [(raw, decode_report(raw)) for raw in texts]
            bad = [raw for raw, entry in found if entry is None]
            if not bad:
                entries = [entry for _, entry in found if entry is not None]
                return Reports(entries, int(first), int(first) + len(entries))
            # Reports are numbered from the oldest on: what is not returned must not stay among them.
            for raw in bad:
                self.server.call("LREM", keys.REPORTS, 1, raw)
        return Reports([], 0, 0)

    def drop_reports(self, read: Reports) -> None:
        """Drop those of the entries that are still there."""
        if read.entries:
            self.server.act("drop_reports", REPORTS, [read.first, read.end])

    def close(self) -> None:
        """Give the connections back."""
        self.server.close()

    def _all(self, scan: str, name: str, parse: Callable[[str], K | None], remove: str) -> set[K]:
        """Go through a whole collection, a batch at a time, so that nobody else has to wait for long."""
        found: set[K] = set()
        cursor = b"0"
        while True:
            cursor, pairs = self.server.call(scan, name, cursor, "COUNT", BATCH)
            good, bad = parsed(pairs[::2], parse)
            found.update(good)
            if bad:
                self.server.call(remove, name, *bad)
            if int(cursor) == 0:
                return found


def _taken(pop: Callable[[int], Sequence[bytes]], parse: Callable[[str], K | None], limit: int) -> list[K]:
    # What is popped is gone, keys or not; go on until there are enough, or nothing is left.
    taken: list[K] = []
    while len(taken) < limit:
        good, bad = parsed(pop(limit - len(taken)), parse)
        taken += good
        if not bad:
            break
    return taken


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
