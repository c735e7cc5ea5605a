"""What the repositories return: frozen records, one for each noun."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from operator import itemgetter
from typing import Any, Self

from sqlalchemy import Row

from genplatform.domain.job import Progress, Reason
from genplatform.domain.keys import JobKey, RunKey
from genplatform.domain.states import EndpointState, JobState, RunState, ShardState


@dataclass(frozen=True)
class _Record:
    @classmethod
    def of(cls, row: Row[Any]) -> Self:
        """Make the record from a row that has at least its columns."""
        return cls(*cls._picked(row._fields)(row))

    @classmethod
    @cache
    def _picked(cls, given: tuple[str, ...]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
        # A round of the dispatcher reads hundreds of rows of thirty columns: they are found by place, not by name.
        return itemgetter(*(given.index(name) for name in cls.names()))

    @classmethod
    @cache
    def names(cls) -> tuple[str, ...]:
        """Return the names of its columns, in order."""
        return tuple(f.name for f in fields(cls))


@dataclass(frozen=True)
class JobRow(_Record):
    """One Job."""

    id: int
    tenant_id: str
    job_id: str
    name: str
    kind: str
    queue: str
    priority: int
    labels: dict[str, str]
    spec: dict[str, Any]
    state: str
    reason_code: str | None
    reason_message: str | None
    run_at: float | None
    deadline_at: float | None
    wish: str | None
    open_needs: int
    run: int
    pool: str | None
    workers: int
    done: int
    total: int
    unit: str
    rate: float | None
    progressed_at: float | None
    model_version_id: int | None
    error_code: str | None
    error_message: str | None
    error_hint: str | None
    submission_pk: int | None
    retry_of: str | None
    created_at: float
    started_at: float | None
    finished_at: float | None

    @property
    def key(self) -> JobKey:
        """Its key outside the catalog."""
        return JobKey(self.tenant_id, self.job_id)

    @property
    def run_key(self) -> RunKey:
        """Its current Run's key."""
        return RunKey(self.tenant_id, self.job_id, self.run)

    @property
    def job_state(self) -> JobState:
        """Its state, typed."""
        return JobState(self.state)

    @property
    def reason(self) -> Reason | None:
        """Why it is in its state."""
        return Reason(self.reason_code, self.reason_message or "") if self.reason_code else None

    @property
    def progress(self) -> Progress | None:
        """How far it is; the rate is shown only while it runs."""
        if not self.total:
            return None
        rate = self.rate if self.state == JobState.RUNNING else None
        return Progress(self.done, self.total, self.unit, rate)


@dataclass(frozen=True)
class QueuedRow(_Record):
    """One queued Job, in the few words that place it in the line. `resources` are those of its spec."""

    id: int
    tenant_id: str
    job_id: str
    priority: int
    reason_code: str | None
    reason_message: str | None
    resources: Any

    @property
    def key(self) -> JobKey:
        """Its key outside the catalog."""
        return JobKey(self.tenant_id, self.job_id)

    @property
    def reason(self) -> Reason | None:
        """Why it waits, as last noted."""
        return Reason(self.reason_code, self.reason_message or "") if self.reason_code else None


@dataclass(frozen=True)
class EndedRow(_Record):
    """One Job that ended, in few words."""

    id: int
    tenant_id: str
    job_id: str
    kind: str
    finished_at: float

    @property
    def key(self) -> JobKey:
        """Its key outside the catalog."""
        return JobKey(self.tenant_id, self.job_id)


@dataclass(frozen=True, slots=True)
class Standing:
    """How many jobs stand in one state in one queue, and when the one with the lowest key was submitted."""

    queue: str
    state: str
    number: int
    since: float


@dataclass(frozen=True, slots=True)
class SpanSum:
    """What a set of places with priorities adds up to. Two sets that differ hardly ever add up to the same."""

    count: int = 0
    places: int = 0
    squares: int = 0
    priorities: int = 0  # each times its place, counted from 1

    def plus(self, place: int, priority: int, times: int = 1) -> SpanSum:
        """Return the sum with one more; with `times` -1, with one less."""
        return SpanSum(
            self.count + times,
            self.places + times * place,
            self.squares + times * place * place,
            self.priorities + times * priority * (place + 1),
        )


@dataclass(frozen=True)
class RunRow(_Record):
    """One Run."""

    id: int
    tenant_id: str
    job_pk: int
    number: int
    state: str
    cause: str | None
    message: str | None
    node: str | None
    worker: str | None
    term: int
    opened_at: float
    started_at: float | None
    finished_at: float | None

    @property
    def run_state(self) -> RunState:
        """Its state, typed."""
        return RunState(self.state)


@dataclass(frozen=True)
class ShardRow(_Record):
    """One Shard."""

    job_pk: int
    number: int
    tenant_id: str
    start: int
    count: int
    state: str
    run: int
    claim: int
    worker: str | None
    failures: int
    folder: str | None
    failed_items: int
    manifest_sha256: str | None
    size: int | None
    published_at: float | None

    @property
    def shard_state(self) -> ShardState:
        """Its state, typed."""
        return ShardState(self.state)


@dataclass(frozen=True)
class ArtifactRow(_Record):
    """One Artifact of a Job."""

    id: int
    job_pk: int
    run: int
    kind: str
    key: str
    sha256: str
    size: int
    step: int | None
    created_at: float


@dataclass(frozen=True)
class ModelRow(_Record):
    """One ModelVersion, with its model's name and whether it is the newest."""

    id: int
    tenant_id: str
    name: str
    version: int
    newest: bool
    recipe: str
    modality: str
    config: dict[str, Any]
    tile: int
    job_id: str | None
    parent: str | None
    digest: str
    key: str | None
    size: int
    data_digest: str | None
    code_version: str
    metrics: dict[str, Any]
    card: dict[str, Any]
    created_at: float

    @property
    def ref(self) -> str:
        """`NAME@V`."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True)
class EvaluationRow(_Record):
    """What one job found when it judged a ModelVersion."""

    id: int
    tenant_id: str
    model_version_id: int
    job_id: str
    found: dict[str, Any]
    created_at: float


@dataclass(frozen=True)
class EndpointRow(_Record):
    """One Endpoint."""

    id: int
    tenant_id: str
    name: str
    model_version_id: int
    min_replicas: int
    max_replicas: int
    generation: int
    state: str
    reason_code: str | None
    reason_message: str | None
    ready: int
    url: str | None
    created_at: float
    confirmed_at: float | None

    @property
    def endpoint_state(self) -> EndpointState:
        """Its state, typed."""
        return EndpointState(self.state)


@dataclass(frozen=True)
class EventRow(_Record):
    """One event of a Job."""

    id: int
    job_pk: int
    time: float
    type: str
    data: dict[str, Any]


@dataclass(frozen=True)
class LogRow(_Record):
    """One log line of a Run."""

    id: int
    job_pk: int
    run: int
    seq: int
    time: float
    text: str
