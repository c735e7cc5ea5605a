"""What a decision is made of: the queued jobs and the cluster, at one moment."""

from __future__ import annotations

from dataclasses import dataclass

from genplatform.domain.job import Capacity, Demand
from genplatform.domain.keys import JobKey


@dataclass(frozen=True)
class QueuedJob:
    """One queued Job, in the few words that order it. `order` counts submissions: lower came earlier."""

    key: JobKey
    order: int
    priority: int
    demand: Demand


@dataclass(frozen=True)
class Snapshot:
    """The line and the cluster."""

    jobs: tuple[QueuedJob, ...]
    capacity: Capacity
