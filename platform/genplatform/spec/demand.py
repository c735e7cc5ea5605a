"""What a spec means in the words of the domain."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from genplatform.domain.job import Demand
from genplatform.domain.names import ModelRef, parse_model_ref
from genplatform.domain.retry import Cause, RetryPolicy
from genplatform.domain.times import moment
from genplatform.errors import BadSpec, SpecProblem
from genplatform.spec.common import JobSpec, Resources, worker_range
from genplatform.spec.compress import CompressSpec
from genplatform.spec.evaluate import EvaluateSpec
from genplatform.spec.generate import GenerateSpec
from genplatform.spec.train import TrainSpec


def demand(spec: JobSpec) -> Demand:
    """Return what the job asks of the machine."""
    return _demand(spec.resources)


def demand_of_resources(data: Any) -> Demand:
    """Return what a stored spec's `resources` ask of the machine. Raises BadSpec when they are none."""
    try:
        return _demand(Resources.model_validate(data))
    except ValidationError as error:
        raise BadSpec([SpecProblem(f"resources cannot be read: {error.errors()[0]['msg']}", "resources")]) from error


def _demand(resources: Resources) -> Demand:
    return demand_of(resources.workers, resources.cpus_per_worker, resources.gpus_per_worker)


def demand_of(workers: int | str, cpus: float, gpus: float) -> Demand:
    """Return what so many workers of one size ask of the machine."""
    fewest, most = worker_range(workers)
    return Demand(fewest, most, cpus=float(cpus), gpus=float(gpus))


def retry_policy(spec: JobSpec) -> RetryPolicy:
    """Return when a run of the job that ended badly is followed by another."""
    return RetryPolicy(
        max=spec.retry.max,
        on=frozenset(Cause(cause) for cause in spec.retry.on),
        budgets={Cause(cause): tries for cause, tries in spec.retry.budgets.items()},
    )


def deadline_at(deadline: float | str | None, submitted_at: float) -> float | None:
    """Return when a job of that `deadline` must have ended; None when it need not."""
    if deadline is None:
        return None
    return moment(deadline) if isinstance(deadline, str) else submitted_at + deadline


def published_name(spec: JobSpec) -> str | None:
    """Return the model name that the job's result becomes a version of; None for a job that publishes no model."""
    match spec:
        case TrainSpec():
            return spec.publish or spec.name
        case CompressSpec():
            return spec.model.partition("@")[0]  # a further version of the model itself
        case _:
            return None


def model_ref(spec: JobSpec) -> ModelRef | None:
    """Return the model that the job uses, or that its training builds on; None for a job that uses none."""
    match spec:
        case GenerateSpec() | EvaluateSpec() | CompressSpec():
            return parse_model_ref(spec.model)
        case TrainSpec(first_stage=str(first_stage)):
            return parse_model_ref(first_stage)
        case TrainSpec(base=str(base)):
            return parse_model_ref(base)
        case _:
            return None
