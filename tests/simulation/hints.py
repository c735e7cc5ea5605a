"""Redis in memory, open to be looked into: what it names, whoever put it there."""

from __future__ import annotations

from genplatform.queues.memory import MemoryQueues


class Hints(MemoryQueues):
    """The shipped twin of the queues."""

    def named(self) -> set[str]:
        """Return the ids of all jobs that are named anywhere in it."""
        offers = [shard for pool in self._pools.values() for shard in pool.offered]
        return {key.job_id for key in [*self._intake, *offers, *self._leases, *self._stops]}

    def held(self) -> list[str]:
        """Return the leases that stand."""
        return sorted(map(str, self._leases))
