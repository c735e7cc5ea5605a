"""What may be asked: the documents of a job file, its loader, the recipe book and the JSON Schema."""

from __future__ import annotations

from genplatform.spec.conditions import Conditions, schema_fault
from genplatform.spec.data import is_path
from genplatform.spec.demand import (
    deadline_at,
    demand,
    demand_of,
    demand_of_resources,
    model_ref,
    published_name,
    retry_policy,
)
from genplatform.spec.documents import (
    CommandSpec,
    CompressSpec,
    EvaluateSpec,
    GenerateSpec,
    JobSpec,
    TrainSpec,
    parse_stored,
)
from genplatform.spec.family import Find, problem_of
from genplatform.spec.judged import METRICS
from genplatform.spec.loader import JobDocument, load
from genplatform.spec.pieces import JSON_LINES, MOST_BYTES
from genplatform.spec.problems import at_most
from genplatform.spec.reader import MAX_BYTES, MAX_PROBLEMS
from genplatform.spec.recipes import RecipeBook
from genplatform.spec.schema import job_file_schema

__all__ = [
    "JSON_LINES",
    "MAX_BYTES",
    "MAX_PROBLEMS",
    "METRICS",
    "MOST_BYTES",
    "CommandSpec",
    "CompressSpec",
    "Conditions",
    "EvaluateSpec",
    "Find",
    "GenerateSpec",
    "JobDocument",
    "JobSpec",
    "RecipeBook",
    "TrainSpec",
    "at_most",
    "deadline_at",
    "demand",
    "demand_of",
    "demand_of_resources",
    "is_path",
    "job_file_schema",
    "load",
    "model_ref",
    "parse_stored",
    "problem_of",
    "published_name",
    "retry_policy",
    "schema_fault",
]
