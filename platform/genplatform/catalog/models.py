"""Models and their published versions."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from genplatform.catalog.rows import ModelRow
from genplatform.catalog.tables import batches, insert_new, model_versions, models
from genplatform.domain.names import ModelRef

_parent = model_versions.alias("parent")
_parent_model = models.alias("parent_model")
_newest = (
    sa.select(sa.func.max(model_versions.c.version))
    .where(model_versions.c.model_pk == models.c.id)
    .correlate(models)
    .scalar_subquery()
)

# Made once: every submit asks them.
_named = sa.select(models.c.name).where(
    models.c.tenant_id == sa.bindparam("tenant"), models.c.name.in_(sa.bindparam("names", expanding=True))
)
_numbered = (
    sa.select(models.c.name, model_versions.c.version)
    .join(models, models.c.id == model_versions.c.model_pk)
    .where(
        models.c.tenant_id == sa.bindparam("tenant"),
        sa.tuple_(models.c.name, model_versions.c.version).in_(sa.bindparam("pairs", expanding=True)),
    )
)


def _select() -> sa.Select[Any]:
    parent = sa.case(
        (_parent.c.id.is_(None), None),
        else_=_parent_model.c.name + "@" + sa.cast(_parent.c.version, sa.String),
    )
    return (
        sa.select(
            model_versions,
            models.c.name,
            (model_versions.c.version == _newest).label("newest"),
            parent.label("parent"),
        )
        .join(models, models.c.id == model_versions.c.model_pk)
        .outerjoin(_parent, _parent.c.id == model_versions.c.parent_pk)
        .outerjoin(_parent_model, _parent_model.c.id == _parent.c.model_pk)
    )


# Made once: every round with small jobs in the line asks these, and every claim.
_by_key = _select().where(model_versions.c.id == sa.bindparam("version_id"))
_of_name = _select().where(model_versions.c.tenant_id == sa.bindparam("tenant"), models.c.name == sa.bindparam("named"))
_of_number = _of_name.where(model_versions.c.version == sa.bindparam("number"))
_newest_of = _of_name.order_by(model_versions.c.version.desc()).limit(1)


class Models:
    """The models of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    def all(self, tenant: str) -> list[ModelRow]:
        """Return every version of every model, by name, newest first."""
        query = _select().where(model_versions.c.tenant_id == tenant)
        rows = self._db.execute(query.order_by(models.c.name, model_versions.c.version.desc()))
        return [ModelRow.of(r) for r in rows]

    def find(self, tenant: str, ref: ModelRef) -> ModelRow | None:
        """Return the version that a reference means now: a number, or the newest."""
        asked = {"tenant": tenant, "named": ref.name}
        if ref.version is not None:
            row = self._db.execute(_of_number, asked | {"number": ref.version}).first()
        elif ref.alias in (None, "latest"):
            row = self._db.execute(_newest_of, asked).first()
        else:
            return None
        return None if row is None else ModelRow.of(row)

    def missing(self, tenant: str, refs: Collection[ModelRef]) -> set[ModelRef]:
        """Return those references that mean no version now."""
        any_version = [ref for ref in refs if ref.version is None and ref.alias in (None, "latest")]
        one_version = [ref for ref in refs if ref.version is not None]
        found: set[tuple[str, int | None]] = set()
        for batch in batches(any_version):
            # A model has at least one version from its first moment on.
            rows = self._db.execute(_named, {"tenant": tenant, "names": [ref.name for ref in batch]})
            found |= {(row.name, None) for row in rows}
        for batch in batches(one_version):
            pairs = [(ref.name, ref.version) for ref in batch]
            rows = self._db.execute(_numbered, {"tenant": tenant, "pairs": pairs})
            found |= {(row.name, row.version) for row in rows}
        return {ref for ref in refs if (ref.name, ref.version) not in found or ref.alias not in (None, "latest")}

    def get(self, version_id: int) -> ModelRow:
        """Return the version with that inside key."""
        return ModelRow.of(self._db.execute(_by_key, {"version_id": version_id}).one())

    def of_digest(self, tenant: str, digest: str) -> ModelRow | None:
        """Return the oldest version with that digest."""
        query = _select().where(model_versions.c.tenant_id == tenant, model_versions.c.digest == digest)
        row = self._db.execute(query.order_by(model_versions.c.id).limit(1)).first()
        return None if row is None else ModelRow.of(row)

    def names(self, tenant: str) -> list[str]:
        """Return the models' names."""
        query = sa.select(models.c.name).where(models.c.tenant_id == tenant).order_by(models.c.name)
        return [r.name for r in self._db.execute(query)]

    def publish(self, tenant: str, name: str, values: dict[str, Any]) -> tuple[int, int]:
        """Add the next version of a model; returns its inside key and its number."""
        self._db.execute(insert_new(self._db.dialect.name, models).values(tenant_id=tenant, name=name))
        # The row is held from here: whoever publishes this name at the same time takes the number after ours.
        named = sa.select(models.c.id).where(models.c.tenant_id == tenant, models.c.name == name)
        model_pk = int(self._db.execute(named.with_for_update()).scalar_one())
        newest = self._db.execute(
            sa.select(sa.func.coalesce(sa.func.max(model_versions.c.version), 0)).where(
                model_versions.c.model_pk == model_pk
            )
        ).scalar_one()
        version = int(newest) + 1
        row_values = {"tenant_id": tenant, "model_pk": model_pk, "version": version, **values}
        added = sa.insert(model_versions).values(**row_values).returning(model_versions.c.id)
        return int(self._db.execute(added).scalar_one()), version
