"""What every kind of job says: its name, queue, priority, needs, seed, machine and retries.

Each field's description is the one in the JSON Schema. What product.md names and nobody has
built yet is refused with a sentence that says so, and never accepted and ignored.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from genplatform.domain.job import DEFAULT_PRIORITY, DEFAULT_QUEUE, HIGHEST_PRIORITY
from genplatform.domain.names import NAME_PATTERN, NAME_RULE, is_name
from genplatform.domain.retry import UNLIMITED, Cause, RetryPolicy
from genplatform.spec.durations import Deadline, Duration
from genplatform.spec.recipes import RecipeBook
from genplatform.spec.refusals import NOT_YET, refuse
from genplatform.spec.words import Found, shown, suggestion

HIGHEST_SEED = 2**63 - 1
MOST_STEPS = 1_000_000_000
MOST_WORKERS = 1000
MOST_LABELS = 64
MOST_NEEDS = 100
LONGEST_LABEL = 200
MOST_TRIES = 100
PROGRESS_TIMEOUT = 3600.0


def _checked_name(text: str) -> str:
    if is_name(text):
        return text
    message = "is empty" if not text else f"{shown(text)} is not a name"
    raise refuse(message, f"A name has {NAME_RULE}.")


Name = Annotated[str, AfterValidator(_checked_name), WithJsonSchema({"type": "string", "pattern": NAME_PATTERN})]


def one_of(what: str, now: tuple[str, ...], later: tuple[str, ...] = ()) -> Any:
    """Return the type of a text that is one of `now`; the words in `later` are promised and not built."""

    def check(text: str) -> str:
        if text in now:
            return text
        hint = suggestion(text, now, "Possible")
        if text in later:
            raise refuse(f"{NOT_YET}: {what} {shown(text)}", f"Possible now: {', '.join(now)}.")
        raise refuse(f"there is no {what} {shown(text)}", hint)

    return Annotated[str, AfterValidator(check), WithJsonSchema({"type": "string", "enum": list(now)})]


class SpecPart(BaseModel):
    """A mapping in a job file: fixed fields, each of exactly its type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    # Fields that are promised and not built yet, with what to do instead.
    not_yet: ClassVar[Mapping[str, str]] = {}


Part = TypeVar("Part", bound=SpecPart)


def default_of(part: Part) -> Callable[[], Part]:
    """Return a factory that gives this one part to every document: parts are frozen, and making them costs."""
    return lambda: part


_RANGE = re.compile(r"([1-9][0-9]{0,3})\.\.([1-9][0-9]{0,3})\Z")


def worker_range(workers: int | str) -> tuple[int, int]:
    """Return the fewest and the most workers that `4` or `1..8` stand for."""
    if isinstance(workers, int):
        return workers, workers
    found = _RANGE.match(workers)
    if found is None:
        raise ValueError(f"{workers!r} is no range of workers")
    return int(found.group(1)), int(found.group(2))


def _checked_workers(value: Any) -> int | str:
    hint = "Write a whole number such as 4, or a range such as 1..8."
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise refuse(f"is {shown(value)}, and not a number of workers", hint)
    try:
        fewest, most = worker_range(value)
    except ValueError:
        raise refuse(f"is {shown(value)}, and not a number of workers", hint) from None
    if not 1 <= fewest <= most <= MOST_WORKERS:
        raise refuse(f"is {shown(value)}; between 1 and {MOST_WORKERS} workers are possible, fewest first", hint)
    return value


def _checked_gpus(value: float) -> float:
    if value > 0:
        # A worker that held a GPU and computed on the CPU would waste what others wait for.
        raise refuse(f"{NOT_YET}: GPUs, and this is {shown(value)}; recipes run on the CPU for now", "Write 0.")
    return value


Workers = Annotated[
    int | str,
    PlainValidator(_checked_workers),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": MOST_WORKERS},
                {"type": "string", "pattern": "^[1-9][0-9]{0,3}\\.\\.[1-9][0-9]{0,3}$"},
            ]
        }
    ),
]


class Resources(SpecPart):
    """How many workers a job gets, and what each of them has."""

    workers: Workers = Field(default=1, description="How many workers: a number, or a range such as 1..8.")
    gpus_per_worker: Annotated[float, AfterValidator(_checked_gpus)] = Field(
        default=0, ge=0, le=64, description="GPUs of each worker; 0, the CPU, is what there is for now."
    )
    cpus_per_worker: float = Field(default=1, gt=0, le=1024, description="CPU cores of each worker.")


# The causes a job may choose to be tried again for; the others have rules of their own.
RETRY_CAUSES = tuple(
    cause.value
    for cause in (
        Cause.NODE_LOST,
        Cause.PREEMPTED,
        Cause.OUT_OF_MEMORY,
        Cause.STALLED,
        Cause.TIMEOUT,
        Cause.USER_ERROR,
    )
)
BUDGETED_CAUSES = tuple(cause for cause in RETRY_CAUSES if cause not in UNLIMITED)
_POLICY = RetryPolicy()


class Retry(SpecPart):
    """When a job whose run ended badly is tried again."""

    max: int = Field(
        default=_POLICY.max,
        ge=0,
        le=MOST_TRIES,
        description="How many further tries a job gets for each cause in `on`.",
    )
    on: list[one_of("cause", RETRY_CAUSES)] = Field(  # type: ignore[valid-type]
        default_factory=lambda: [cause for cause in RETRY_CAUSES if cause in _POLICY.on],
        max_length=len(RETRY_CAUSES),
        description="The causes after which a job is tried again.",
    )
    budgets: dict[one_of("cause", BUDGETED_CAUSES), Annotated[int, Field(ge=0, le=MOST_TRIES)]] = Field(  # type: ignore[valid-type]
        default_factory=dict,
        description="Causes in `on` that get another number of further tries than `max`: `{out_of_memory: 1}`.",
    )

    @field_validator("budgets")
    @classmethod
    def _are_on(cls, budgets: dict[str, int], info: ValidationInfo) -> dict[str, int]:
        for cause in budgets:
            if cause not in info.data.get("on", budgets):
                raise refuse(f"there are no tries after {cause}, which `on` does not name", f"Add {cause} to `on`.")
        return budgets


def once_each(names: list[str], noun: str) -> list[str]:
    """Return the names; refuses one that is there twice."""
    for name in names:
        if names.count(name) > 1:
            raise refuse(f"{shown(name)} is named twice", f"Name each {noun} once.")
    return names


class JobSpec(SpecPart):
    """What every kind of job says."""

    kind: str = Field(description="What to do.")
    name: Name = Field(default="", description="The job's name. Left out: made of the model's or the recipe's.")
    queue: Name = Field(default=DEFAULT_QUEUE, description="The queue the job waits in.")
    priority: int = Field(
        default=DEFAULT_PRIORITY,
        ge=0,
        le=HIGHEST_PRIORITY,
        description="From 0 to 1000; higher goes first in its queue.",
    )
    labels: dict[Name, Annotated[str, Field(max_length=LONGEST_LABEL)]] = Field(
        default_factory=dict, max_length=MOST_LABELS, description="Words of your own, to find the job by."
    )
    needs: list[Name] = Field(
        default_factory=list,
        max_length=MOST_NEEDS,
        description="Names or ids of jobs that must succeed first; an earlier document of the same file counts.",
    )
    seed: int = Field(default=0, ge=0, le=HIGHEST_SEED, description="Same seed, same result. From 0 to 2^63 - 1.")
    resources: Resources = Field(default_factory=default_of(Resources()), description="The machine of the job.")
    retry: Retry = Field(
        default_factory=default_of(Retry()), description="When a job whose run ended badly is tried again."
    )
    progress_timeout: Duration = Field(
        default=PROGRESS_TIMEOUT,
        description="How long a run may get no further (no step, no shard, no checkpoint) before it counts as stalled.",
    )
    timeout: Duration | None = Field(
        default=None, description="How long one run may take, from the first word of its worker on."
    )
    deadline: Deadline | None = Field(
        default=None,
        description="When the job must have ended or it fails: a time with its zone, or a duration from the submit on.",
    )

    @field_validator("needs")
    @classmethod
    def _each_once(cls, needs: list[str]) -> list[str]:
        return once_each(needs, "job")

    @classmethod
    def further_problems(cls, data: Mapping[str, Any], recipes: RecipeBook) -> Iterable[Found]:
        """Return what the fields alone cannot tell of a document, whatever else is wrong with it."""
        return ()

    @abstractmethod
    def default_name(self) -> str:
        """Return the name of a job that was given none."""

    def completed(self, name: str) -> JobSpec:
        """Return the spec with `name`, and with every default that depends on it filled in."""
        return self if name == self.name else self.model_copy(update={"name": name})
