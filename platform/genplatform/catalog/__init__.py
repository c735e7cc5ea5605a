"""The record: the only home of SQLAlchemy. SQLite or PostgreSQL behind one set of repositories."""

from genplatform.catalog.catalog import Catalog, Transaction
from genplatform.catalog.leaders import Leader
from genplatform.catalog.rows import (
    ArtifactRow,
    EndpointRow,
    EventRow,
    JobRow,
    LogRow,
    ModelRow,
    RunRow,
    ShardRow,
)
from genplatform.catalog.submissions import IdTaken, Submission
from genplatform.catalog.verify import Problem, problems

__all__ = [
    "ArtifactRow",
    "Catalog",
    "EndpointRow",
    "EventRow",
    "IdTaken",
    "JobRow",
    "Leader",
    "LogRow",
    "ModelRow",
    "Problem",
    "RunRow",
    "ShardRow",
    "Submission",
    "Transaction",
    "problems",
]
