"""All names of Redis keys, in one place.

One hash tag, so that every act touches one slot of a cluster. The tenant is part of the
members (`tenant/job/run/...`), as `domain.keys` writes them. Only pools have queues of their
own; a pool's id is a hash over its tenant among others.
"""

from __future__ import annotations

_TAG = "{genctl}"

SEQUENCE = f"{_TAG}:seq"  # counter: what came first, in the intake and among a pool's jobs
INTAKE = f"{_TAG}:intake"  # sorted set: JobKey by sequence
WAKE = f"{_TAG}:wake"  # list of at most one element: a wake nobody has waited for yet
OFFERED = f"{_TAG}:offered"  # channel: a pool and how many shards are new in its queue
LEASES = f"{_TAG}:leases"  # sorted set: RunKey or ClaimKey by expiry, in milliseconds of the server's clock
STOPS = f"{_TAG}:stops"  # hash: JobKey to reason
REPORTS = f"{_TAG}:reports"  # list of JSON objects, oldest first
OLDEST_REPORT = f"{_TAG}:reports:oldest"  # its number; the others count on from it

# A score in a pool's queue is rank * SHARD_SPAN + shard: whole numbers below 2**53 are exact.
# Shards past the span keep their place behind the others of their job.
SHARD_SPAN = 1 << 22

# Ranks of jobs are kept while their pool has shards waiting, so that a shard that comes back
# keeps its job's place; this many are kept even when it has none.
RANKS_KEPT = 1000

# Reports that no dispatcher reads must not fill the server's memory.
MOST_REPORTS = 200_000


def offers(pool: str) -> str:
    """Return the key of a pool's queue: a sorted set of ShardKey, by their job's rank and their number."""
    return f"{_TAG}:offers:{pool}"


def ranks(pool: str) -> str:
    """Return the key of the ranks of a pool's jobs: a hash from JobKey to a sequence number."""
    return f"{_TAG}:ranks:{pool}"
