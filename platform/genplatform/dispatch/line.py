"""The line: every queued job, in memory, in the few words that scheduling needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from genplatform.catalog import JobRow
from genplatform.dispatch.sizes import demand_of
from genplatform.domain.job import Reason
from genplatform.domain.keys import JobKey
from genplatform.scheduling import QueuedJob


class Line:
    """An index over the catalog's queued jobs; rebuilt from it at takeover, and never of record."""

    def __init__(self) -> None:
        self._jobs: dict[JobKey, QueuedJob] = {}
        self._reasons: dict[JobKey, Reason | None] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, rows: Iterable[JobRow]) -> None:
        """Take jobs into the line as they are now."""
        for row in rows:
            self._jobs[row.key] = _entry(row)
            self._reasons[row.key] = row.reason

    def keep(self, wanted: Mapping[JobKey, int]) -> list[JobKey]:
        """Let go of everyone but these; returns those of them who are not in the line yet with that priority."""
        for key in self._jobs.keys() - wanted.keys():
            self.remove(key)
        held = {key: job.priority for key, job in self._jobs.items()}
        return [key for key, priority in wanted.items() if held.get(key) != priority]

    def remove(self, key: JobKey) -> None:
        """Take a job out of the line."""
        self._jobs.pop(key, None)
        self._reasons.pop(key, None)

    def get(self, key: JobKey) -> QueuedJob | None:
        """Return a job in the line."""
        return self._jobs.get(key)

    def jobs(self) -> tuple[QueuedJob, ...]:
        """Return everyone in the line."""
        return tuple(self._jobs.values())

    def changed(self, reasons: dict[JobKey, Reason]) -> dict[JobKey, Reason]:
        """Return the reasons that are not the ones noted last, and note them."""
        new = {key: r for key, r in reasons.items() if self._reasons.get(key) != r}
        self._reasons.update((key, r) for key, r in new.items() if key in self._jobs)
        return new


def _entry(row: JobRow) -> QueuedJob:
    return QueuedJob(
        key=row.key,
        order=row.id,
        priority=row.priority,
        demand=demand_of(row),
    )
