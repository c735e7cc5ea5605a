"""The shapes of answers, for the OpenAPI document and for the tests that hold answers to them.

Fields are added freely; none is renamed or removed. Services return plain dicts, which are
sent as they are: checking each answer would cost more than making it.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Shape(BaseModel):
    """One JSON object; there may be more fields than these."""

    model_config = ConfigDict(extra="allow")


class Problem(Shape):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    hint: str
    problems: list[dict[str, Any]] | None = None


class Reason(Shape):
    """Why a job stands where it stands."""

    code: str
    message: str


class Progress(Shape):
    """How far a job is."""

    done: int
    total: int
    unit: str
    rate: float | None
    eta_seconds: float | None


class Run(Shape):
    """One try of a job."""

    number: int
    state: str
    cause: str | None
    node: str | None
    started_at: str | None
    finished_at: str | None


class OutputsSummary(Shape):
    """How many items a job published, and where."""

    count: int
    uri: str | None


class JobError(Shape):
    """Why a job failed."""

    code: str
    message: str
    hint: str


class Job(Shape):
    """A job."""

    id: str
    name: str
    kind: str
    state: str
    reason: Reason | None
    position: int | None = Field(None, description="Its place in the line; only of one queued job asked for alone.")
    queue: str
    priority: int
    labels: dict[str, str]
    retry_of: str | None = Field(description="The id of the ended job that this one does again.")
    progress: Progress | None
    runs: list[Run]
    model: str | None
    outputs: OutputsSummary | None
    error: JobError | None
    retry_at: str | None = Field(description="When a job that backs off is queued again.")
    deadline_at: str | None = Field(description="When a job that has not ended must have.")
    created_at: str
    started_at: str | None
    finished_at: str | None


class Jobs(Shape):
    """A page of jobs."""

    jobs: list[Job]
    next: str | None = None


class Submitted(Jobs):
    """What a submit made: the first of its jobs, and the mark of the page that follows them."""

    count: int
    key: str | None


class Submission(Shape):
    """What was made under one idempotency key, and how it stands."""

    key: str
    count: int
    states: dict[str, int]
    created_at: str


class Upload(Shape):
    """Bytes that were sent ahead."""

    digest: str


class Event(Shape):
    """Something that happened to a job."""

    id: int | str
    time: str
    type: str
    data: dict[str, Any]


class Events(Shape):
    """A page of events."""

    events: list[Event]
    next: str | None


class LogLine(Shape):
    """A line that a run logged."""

    id: int
    run: int
    rank: int
    stream: Literal["log", "stdout", "stderr"]
    time: str
    text: str


class LogLines(Shape):
    """A page of log lines; `next` is the `after` of the next page."""

    lines: list[LogLine]
    next: int


class Artifact(Shape):
    """Immutable bytes with a digest."""

    kind: str
    run: int
    step: int | None
    path: str
    uri: str
    sha256: str
    size: int
    created_at: str


class Artifacts(Shape):
    """A job's artifacts."""

    artifacts: list[Artifact]


class File(Shape):
    """A file of an item; `path` is relative to the job's outputs."""

    path: str
    sha256: str
    payload_sha256: str
    mime: str


class Item(Shape):
    """One generated thing. `path` and `sha256` repeat the first file's."""

    index: int
    custom_id: str | None
    seed: int | None
    cond: dict[str, Any] | None
    status: Literal["ok", "failed", "held"]
    files: list[File]
    path: str | None
    sha256: str | None
    error: Any | None


class Outputs(Shape):
    """A page of items."""

    job_id: str
    count: int
    items: list[Item]
    next: str | None


class Difference(Shape):
    """A field that is not the same in two jobs; null is what one of them does not have."""

    part: str
    field: str
    a: Any
    b: Any


class Diff(Shape):
    """Two jobs, and in what they differ."""

    jobs: list[Job]
    differences: list[Difference]


class ModelVersion(Shape):
    """A published checkpoint."""

    name: str
    version: int
    aliases: list[str]
    recipe: str
    modality: str
    job_id: str | None
    parent: str | None
    digest: str
    data_digest: str | None
    metrics: dict[str, Any]
    tile: int
    created_at: str


class Metric(Shape):
    """One metric of a model, and the same number of what it is held against."""

    value: float
    better: Literal["lower", "higher"]
    about: str
    anchors: dict[str, float]


class Evaluation(Shape):
    """What was found when a model version was judged."""

    job_id: str
    created_at: str
    metrics: dict[str, Metric]
    anchors: dict[str, str]
    feature_space: dict[str, Any] | None
    data_digest: str
    samples: int
    seed: int


class ShownModelVersion(ModelVersion):
    """A published checkpoint with all that is known of it; the newest evaluation comes first."""

    card: dict[str, Any]
    evaluations: list[Evaluation]


class Models(Shape):
    """Model versions."""

    models: list[ModelVersion]


class ModelFile(Shape):
    """One of a version's files."""

    path: str


class ModelFiles(Shape):
    """The files of a version: weights, config, card, and what else its recipe keeps."""

    files: list[ModelFile]


class RecipeLine(Shape):
    """A model family."""

    name: str
    modality: str
    summary: str


class Recipes(Shape):
    """Model families."""

    recipes: list[RecipeLine]


class Recipe(RecipeLine):
    """A model family, with the JSON Schema of its parameters."""

    config: dict[str, Any]


class Replicas(Shape):
    """How many replicas answer, and how many may."""

    ready: int
    min: int
    max: int


class Endpoint(Shape):
    """A served model."""

    name: str
    state: str
    url: str | None
    model: str
    replicas: Replicas
    reason: Reason | str | None


class Endpoints(Shape):
    """Served models."""

    endpoints: list[Endpoint]


class Part(Shape):
    """A part of the platform, as the API sees it."""

    name: str
    state: str
    detail: str
    hint: str


class Status(Shape):
    """The platform's state."""

    state: str
    parts: list[Part]


Responses = dict[int | str, dict[str, Any]]

# FastAPI would document a 422 of its own shape otherwise, which is never sent.
PROBLEM: Responses = {"default": {"model": Problem, "description": "What went wrong, as application/problem+json."}}


def shape(model: type[Shape], status: int = 200) -> Responses:
    """Return FastAPI's `responses=` for an answer of this shape."""
    return {status: {"model": model}}
