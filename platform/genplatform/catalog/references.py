"""What the record refers to in the store: every row that says that bytes lie under a key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from genplatform.catalog import database
from genplatform.catalog.tables import artifacts, jobs, model_versions, models, shards
from genplatform.domain import layout
from genplatform.domain.keys import JobKey
from genplatform.domain.states import ShardState

PAGE = 1000


class Kind(StrEnum):
    """What consists of several objects; what is referred to otherwise is one, and its kind the artifact's."""

    CHECKPOINT = "checkpoint"
    BEST_CHECKPOINT = "best_checkpoint"
    SHARD = "shard"
    MODEL = "model"


@dataclass(frozen=True)
class Reference:
    """One row's word: what kind of thing, whose (`TENANT/JOB` or `TENANT/NAME@V`), its key, and a digest of it.

    The digest is that of the object, of a shard's manifest, of a checkpoint's list of its files,
    or of a model's weights; None when the row has none. `row` finds it again.
    """

    kind: str
    about: str
    key: str
    sha256: str | None
    row: tuple[int, ...]


def references(engine: sa.Engine) -> Iterator[Reference]:
    """Yield every reference, in pages of one short transaction each: nothing is held while the store is looked at."""
    yield from _paged(engine, _artifacts, (0,))
    yield from _paged(engine, _shards, (0, -1))
    yield from _paged(engine, _models, (0,))


def still_refers(engine: sa.Engine, reference: Reference) -> bool:
    """Tell whether the row is there now and says the same."""
    query = {Kind.SHARD.value: _shards, Kind.MODEL.value: _models}.get(reference.kind, _artifacts)
    before = (*reference.row[:-1], reference.row[-1] - 1)
    with database.transaction(engine, write=False) as connection:
        return reference in [_reference(row) for row in connection.execute(query(before).limit(1))]


def _paged(engine: sa.Engine, query: Any, last: tuple[int, ...]) -> Iterator[Reference]:
    while True:
        with database.transaction(engine, write=False) as connection:
            page = [_reference(row) for row in connection.execute(query(last).limit(PAGE))]
        if not page:
            return
        yield from page
        last = page[-1].row


def _artifacts(last: tuple[int, ...]) -> sa.Select[*tuple[Any, ...]]:
    a = artifacts
    columns = (a.c.kind, jobs.c.tenant_id, jobs.c.job_id, a.c.key, a.c.sha256, a.c.id)
    return sa.select(*columns).join(jobs, jobs.c.id == a.c.job_pk).where(a.c.id > last[0]).order_by(a.c.id)


def _shards(last: tuple[int, ...]) -> sa.Select[*tuple[Any, ...]]:
    s = shards
    columns = (jobs.c.tenant_id, jobs.c.job_id, s.c.folder, s.c.manifest_sha256, s.c.job_pk, s.c.number)
    after = sa.or_(s.c.job_pk > last[0], sa.and_(s.c.job_pk == last[0], s.c.number > last[1]))
    published = sa.and_(s.c.state == ShardState.PUBLISHED.value, s.c.job_pk >= last[0], after)
    query = sa.select(sa.literal(Kind.SHARD.value).label("kind"), *columns).join(jobs, jobs.c.id == s.c.job_pk)
    return query.where(published).order_by(s.c.job_pk, s.c.number)


def _models(last: tuple[int, ...]) -> sa.Select[*tuple[Any, ...]]:
    v = model_versions
    columns = (v.c.tenant_id, models.c.name, v.c.version, v.c.key, v.c.card, v.c.id)
    query = sa.select(sa.literal(Kind.MODEL.value).label("kind"), *columns).join(models, models.c.id == v.c.model_pk)
    return query.where(v.c.key.is_not(None), v.c.id > last[0]).order_by(v.c.id)


def _reference(row: sa.Row[*tuple[Any, ...]]) -> Reference:
    if row.kind == Kind.SHARD:
        job = JobKey(row.tenant_id, row.job_id)
        key = f"{layout.outputs(job)}/{row.folder}"
        return Reference(Kind.SHARD.value, str(job), key, row.manifest_sha256, (row.job_pk, row.number))
    if row.kind == Kind.MODEL:
        weights = row.card.get("weights") if isinstance(row.card, dict) else None
        sha256 = weights.get("sha256") if isinstance(weights, dict) else None
        return Reference(Kind.MODEL.value, f"{row.tenant_id}/{row.name}@{row.version}", row.key, sha256, (row.id,))
    return Reference(row.kind, f"{row.tenant_id}/{row.job_id}", row.key, row.sha256, (row.id,))
