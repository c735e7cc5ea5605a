"""What was found when model versions were judged: each job's word once, for as long as the version is there."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from genplatform.catalog.rows import EvaluationRow
from genplatform.catalog.tables import evaluations


class Evaluations:
    """The evaluations of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    def add(self, tenant: str, version_id: int, job_id: str, found: dict[str, Any], now: float) -> None:
        """Keep what a job found of a version."""
        row = {"tenant_id": tenant, "model_version_id": version_id, "job_id": job_id, "found": found}
        self._db.execute(sa.insert(evaluations).values(**row, created_at=now))

    def of_version(self, version_id: int) -> list[EvaluationRow]:
        """Return what was found of a version, newest first."""
        query = sa.select(evaluations).where(evaluations.c.model_version_id == version_id)
        return [EvaluationRow.of(row) for row in self._db.execute(query.order_by(evaluations.c.id.desc()))]
