"""Artifacts: immutable bytes of a Job that a committed row refers to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from genplatform.catalog.rows import ArtifactRow
from genplatform.catalog.tables import artifacts

_of_job = sa.select(artifacts).where(artifacts.c.job_pk == sa.bindparam("of")).order_by(artifacts.c.id.desc())
_of_a_kind = _of_job.where(artifacts.c.kind == sa.bindparam("kind"))


class Artifacts:
    """The artifacts of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    def insert(self, values: dict[str, Any]) -> None:
        """Add one artifact."""
        self.insert_many([values])

    def insert_many(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add artifacts, in this order."""
        if rows:
            self._db.execute(sa.insert(artifacts), list(rows))

    def of_job(self, job_pk: int, kind: str | None = None) -> list[ArtifactRow]:
        """Return a job's artifacts, newest first."""
        asked: tuple[Any, dict[str, Any]] = (_of_job, {"of": job_pk})
        if kind is not None:
            asked = (_of_a_kind, {"of": job_pk, "kind": kind})
        return [ArtifactRow.of(r) for r in self._db.execute(*asked)]

    def forget(self, job_pk: int, keys: list[str]) -> None:
        """Take away the rows of artifacts that were replaced by newer ones."""
        self._db.execute(sa.delete(artifacts).where(artifacts.c.job_pk == job_pk, artifacts.c.key.in_(keys)))
