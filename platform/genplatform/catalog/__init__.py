"""The record: the only home of SQLAlchemy. SQLite or PostgreSQL behind one set of repositories."""

from genplatform.catalog.catalog import Catalog, Transaction
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

__all__ = [
    "ArtifactRow",
    "Catalog",
    "EndpointRow",
    "EventRow",
    "JobRow",
    "LogRow",
    "ModelRow",
    "RunRow",
    "ShardRow",
    "Transaction",
]
