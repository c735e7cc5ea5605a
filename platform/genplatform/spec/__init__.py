"""What may be asked: the documents of a job file, its loader, the recipe book and the JSON Schema."""

from __future__ import annotations

from genplatform.spec.demand import deadline_at, demand, model_ref, published_name, retry_policy
from genplatform.spec.documents import GenerateSpec, JobSpec, TrainSpec, parse_stored
from genplatform.spec.loader import JobDocument, load
from genplatform.spec.recipes import RecipeBook
from genplatform.spec.schema import job_file_schema

__all__ = [
    "GenerateSpec",
    "JobDocument",
    "JobSpec",
    "RecipeBook",
    "TrainSpec",
    "deadline_at",
    "demand",
    "job_file_schema",
    "load",
    "model_ref",
    "parse_stored",
    "published_name",
    "retry_policy",
]
