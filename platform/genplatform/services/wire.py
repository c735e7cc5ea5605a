"""What nodes say over /internal/v1, checked: a body that is not of its shape is refused whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from genplatform.domain.retry import Cause
from genplatform.errors import BadRequest

Number = Annotated[int, Field(ge=0, lt=2**53)]
# Seconds since the epoch that a calendar has: up to the year 9999.
Time = Annotated[float, Field(ge=0, lt=253_402_300_800)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, Field(max_length=65_536)]
Word = Annotated[str, Field(max_length=255)]
Short = Annotated[str, Field(max_length=64)]
# What fits one request, whatever the files are called.
MOST_FILES = 5_000
MOST_METRICS = 100
StoreKey = Annotated[str, Field(min_length=1, max_length=1024)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=True)


class RunBody(_Body):
    """Any word about one Run."""

    job_id: Word
    run: Number


class Started(RunBody):
    """A Run's worker is at work."""

    node: Word = ""
    worker: Word = ""


class ClaimBody(RunBody):
    """One claim of one Shard."""

    shard: Number
    claim: Number


class Heartbeat(_Body):
    """A worker lives, and what it works on."""

    worker: Word = ""
    node: Word = ""
    runs: list[RunBody] = Field(default_factory=list, max_length=1000)
    claims: list[ClaimBody] = Field(default_factory=list, max_length=1000)


class ProgressBody(_Body):
    """How far a Run is."""

    done: Number
    total: Number
    unit: Word
    rate: float | None = None


class Metrics(_Body):
    """Values measured at one step."""

    step: Number
    time: Time
    values: dict[str, float | None] = Field(max_length=100)


class LogLine(_Body):
    """One line of a Run's log; `seq` counts them within the Run."""

    seq: Number
    time: Time
    text: Text


class Said(_Body):
    """Something else that happened in a Run."""

    type: Word
    time: Time
    data: dict[str, Any] = Field(default_factory=dict)


class Report(RunBody):
    """Progress, metrics and log lines on their way to the catalog."""

    tenant: Word = ""
    progress: ProgressBody | None = None
    metrics: list[Metrics] = Field(default_factory=list, max_length=10_000)
    logs: list[LogLine] = Field(default_factory=list, max_length=10_000)
    events: list[Said] = Field(default_factory=list, max_length=1000)


class ArtifactBody(RunBody):
    """Bytes that lie in the store."""

    kind: Literal["checkpoint", "best_checkpoint", "sheet", "tensorboard", "log"]
    key: StoreKey
    sha256: Sha256
    size: Number
    step: Number | None = None


class Claim(_Body):
    """A pool's worker asks for work."""

    worker: Word
    node: Word = ""
    max: Annotated[int, Field(ge=1, le=100)] = 1
    # One shard at least, and more of them only while all together have fewer items; null: however many they have.
    max_items: Annotated[int, Field(ge=1)] | None = None
    wait_seconds: Annotated[float, Field(ge=0, le=60)] = 0.0


class FileBody(_Body):
    """One object in the store."""

    key: StoreKey
    sha256: Sha256
    size: Number


class MetricBody(_Body):
    """One metric of a model, and the same number of what it is held against."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    value: float
    anchors: dict[Short, float] = Field(default_factory=dict, max_length=MOST_METRICS)


class EvaluationBody(_Body):
    """What was found when a model version was judged: metrics by name, each with its anchors, and what they mean."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    metrics: dict[Short, MetricBody] = Field(max_length=MOST_METRICS)


class ModelBody(_Body):
    """A trained model as it lies in the store."""

    recipe: Short
    modality: Short
    config: dict[str, Any]
    tile: Annotated[int, Field(ge=1, le=1_000_000)]
    key: StoreKey
    digest: Sha256
    size: Number
    data_digest: Sha256 | None = None
    metrics: dict[str, Any] = Field(default_factory=dict)
    card: dict[str, Any]
    evaluation: EvaluationBody | None = None


class PublishModel(RunBody):
    """A train Run's result."""

    model: ModelBody


class PublishEvaluation(RunBody):
    """An evaluate Run's result."""

    evaluation: EvaluationBody


class PublishFiles(RunBody):
    """The files that a command left."""

    files: list[FileBody] = Field(max_length=MOST_FILES)


class PublishShard(ClaimBody):
    """One shard's result."""

    count: Number
    failed: Number = 0
    manifest: FileBody
    bytes: Number = 0


class PublishShards(_Body):
    """Several shards' results."""

    shards: list[PublishShard] = Field(min_length=1, max_length=1000)


class Failed(RunBody):
    """A Run, or one claim of it, ended in an error."""

    shard: Number | None = None
    claim: Number | None = None
    cause: Cause
    message: Text
    hint: Text = ""
    traceback: Text = ""


class Released(RunBody):
    """A Run stopped because it was asked to."""

    reason: Literal["cancel", "pause", "shutdown", "timeout", "stalled", "deadline"]
    step: Number | None = None


B = TypeVar("B", bound=_Body)


def parse(kind: type[B], body: Mapping[str, Any]) -> B:
    """Return the body as `kind`; raises BadRequest naming the first field that is wrong."""
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(p) for p in first["loc"])
        raise BadRequest(
            f"Field {place!r} of the body is wrong: {first['msg']}.", "See /api/v1/openapi.json."
        ) from None
