"""What a Job asks of the machine, why it stands where it stands, and how far it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

DEFAULT_TENANT = "default"
DEFAULT_QUEUE = "default"
DEFAULT_PRIORITY = 500
HIGHEST_PRIORITY = 1000


class JobKind(StrEnum):
    """The registry of kinds."""

    TRAIN = "train"
    GENERATE = "generate"
    EVALUATE = "evaluate"
    COMPRESS = "compress"
    COMMAND = "command"


# Kinds whose every Run is the work of one actor of its own; the others' Runs are shared by the workers of a pool.
WITH_ACTOR = frozenset({JobKind.TRAIN, JobKind.EVALUATE, JobKind.COMPRESS, JobKind.COMMAND})
# Kinds that use a model version, to which a Job is pinned with its first Run.
WITH_MODEL = frozenset({JobKind.GENERATE, JobKind.EVALUATE, JobKind.COMPRESS})
# Kinds whose result is a model version.
PUBLISHES_MODEL = frozenset({JobKind.TRAIN, JobKind.COMPRESS})


class ReasonCode(StrEnum):
    """Why a Job is in its state, in a word that programs compare."""

    BEHIND_OTHERS = "behind_others"
    NEEDS_JOB = "needs_job"
    NEEDS_GPU = "needs_gpu"
    NEEDS_CPU = "needs_cpu"
    NO_CAPACITY = "no_capacity"
    BACKING_OFF = "backing_off"
    NODE_LOST = "node_lost"
    PREEMPTED = "preempted"
    PAUSING = "pausing"
    PAUSED = "paused"
    STALLED = "stalled"
    TIMEOUT = "timeout"
    DEADLINE = "deadline"
    SHUTDOWN = "shutdown"
    OUT_OF_MEMORY = "out_of_memory"
    USER_ERROR = "user_error"
    START_FAILED = "start_failed"
    POISONED = "poisoned"
    OUTPUTS_LOST = "outputs_lost"
    DEPENDENCY_FAILED = "dependency_failed"
    CANCELLED_BY_USER = "cancelled_by_user"


class Wish(StrEnum):
    """What a person asked of a Job's open Run and is not done yet; it goes when the Run does."""

    PAUSE = "pause"


@dataclass(frozen=True)
class Reason:
    """A typed reason and a sentence for people."""

    code: str
    message: str

    def as_json(self) -> dict[str, Any]:
        """Return the reason as it travels."""
        return asdict(self)


@dataclass(frozen=True)
class Demand:
    """What a Job needs: between `min_workers` and `max_workers` workers of this size each."""

    min_workers: int = 1
    max_workers: int = 1
    cpus: float = 1.0
    gpus: float = 0.0


@dataclass(frozen=True)
class NodeSize:
    """What one node has in all; a worker is always on one node."""

    id: str
    cpus: float
    gpus: float


@dataclass(frozen=True)
class Capacity:
    """What the cluster has, in all and free now; without `nodes` it is taken for one."""

    cpus: float
    gpus: float
    free_cpus: float
    free_gpus: float
    nodes: tuple[NodeSize, ...] = ()


@dataclass(frozen=True)
class Progress:
    """How far a Run is; `rate` in units a second."""

    done: int
    total: int
    unit: str
    rate: float | None = None

    @property
    def eta_seconds(self) -> float | None:
        """Seconds to go at this rate; None when the rate is not known."""
        if not self.rate or self.rate <= 0:
            return None
        return round(max(0, self.total - self.done) / self.rate, 1)

    def as_json(self) -> dict[str, Any]:
        """Return the progress as it travels."""
        rate = None if self.rate is None else round(self.rate, 2)
        return {
            "done": self.done,
            "total": self.total,
            "unit": self.unit,
            "rate": rate,
            "eta_seconds": self.eta_seconds,
        }
