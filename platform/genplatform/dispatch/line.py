"""The line: every queued job, in memory, in the few words that scheduling needs."""

from __future__ import annotations

from collections.abc import Iterable

from genplatform.catalog import JobRow
from genplatform.domain.job import Reason
from genplatform.domain.keys import JobKey
from genplatform.scheduling import QueuedJob
from genplatform.spec import demand, parse_stored


class Line:
    """An index over the catalog's queued jobs; rebuilt from it at takeover, and never of record."""

    def __init__(self) -> None:
        self._jobs: dict[JobKey, QueuedJob] = {}
        self._reasons: dict[JobKey, str | None] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, rows: Iterable[JobRow]) -> None:
        """Take jobs into the line; those in it already stay as they are."""
        for row in rows:
            if row.key not in self._jobs:
                self._jobs[row.key] = _entry(row)
                self._reasons[row.key] = row.reason_code

    def replace(self, rows: Iterable[JobRow]) -> None:
        """Make the line be exactly these jobs."""
        rows = list(rows)
        gone = self._jobs.keys() - {row.key for row in rows}
        for key in gone:
            self.remove(key)
        self.add(rows)

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
        """Return the reasons whose code is not the one noted last, and note them."""
        new = {key: r for key, r in reasons.items() if self._reasons.get(key) != r.code}
        for key, reason in new.items():
            if key in self._jobs:
                self._reasons[key] = reason.code
        return new


def _entry(row: JobRow) -> QueuedJob:
    return QueuedJob(
        key=row.key,
        order=row.id,
        priority=row.priority,
        queue=row.queue,
        demand=demand(parse_stored(row.spec)),
        submitted_at=row.created_at,
    )
