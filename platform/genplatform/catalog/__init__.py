"""The record: the only home of SQLAlchemy. SQLite or PostgreSQL behind one set of repositories."""

from genplatform.catalog.catalog import Catalog, Transaction
from genplatform.catalog.leaders import Leader
from genplatform.catalog.queued import SPAN
from genplatform.catalog.rows import (
    ArtifactRow,
    EndedRow,
    EndpointRow,
    EvaluationRow,
    EventRow,
    JobRow,
    LogRow,
    ModelRow,
    QueuedRow,
    RunRow,
    ShardRow,
    SpanSum,
    Standing,
)
from genplatform.catalog.submissions import IdTaken, Submission
from genplatform.catalog.verify import Problem, problems

__all__ = [
    "SPAN",
    "ArtifactRow",
    "Catalog",
    "EndedRow",
    "EndpointRow",
    "EvaluationRow",
    "EventRow",
    "IdTaken",
    "JobRow",
    "Leader",
    "LogRow",
    "ModelRow",
    "Problem",
    "QueuedRow",
    "RunRow",
    "ShardRow",
    "SpanSum",
    "Standing",
    "Submission",
    "Transaction",
    "problems",
]
