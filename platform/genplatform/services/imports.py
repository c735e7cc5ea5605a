"""Import: a model version that was exported elsewhere becomes the first version of a name here.

What came is believed in nothing: every file is held to its digest, and the version to its own, which config, weights
and code decide. It keeps that digest, and its card says where it comes from.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

from genplatform.catalog import ModelRow, Transaction
from genplatform.domain import exported, layout
from genplatform.domain.exported import Exported
from genplatform.domain.names import NAME_RULE, RESERVED_MODELS, ModelRef, is_name
from genplatform.errors import BadRequest, Conflict, NotFound
from genplatform.services import present, wire
from genplatform.services.context import Wiring
from genplatform.spec import schema_fault
from genplatform.store.archives import unpack

# Beside the files of the model: lineage.json and the licence.
MOST_FILES = exported.MOST_FILES + 2
COLUMNS = ("recipe", "modality", "config", "tile", "digest", "key", "data_digest", "metrics", "card")


def import_model(w: Wiring, tenant: str, *, name: str, upload: str) -> dict[str, Any]:
    """Publish the model in an uploaded archive as `NAME@1`; the same archive again is the same version.

    Raises NotFound for an upload that is not there, BadRequest for one that is no whole model, and Conflict for a name
    that is taken.
    """
    if not is_name(name) or name.casefold() in RESERVED_MODELS:
        raise BadRequest(f"{name!r:.200} cannot name a model.", f"A name is {NAME_RULE}, and none of ours.")
    known = _standing(w, tenant, name, upload)
    if known is not None:
        return known
    with tempfile.TemporaryDirectory(prefix="genctl-import-") as scratch:
        archive, folder = Path(scratch) / "model.tar", Path(scratch) / "model"
        _fetch(w, tenant, upload, archive)
        unpack(archive, folder, "The archive of the model", most_files=MOST_FILES)
        archive.unlink()
        found = exported.read(folder)
        made = _checked(w, tenant, found, upload)
        for more in (exported.LINEAGE, exported.LICENCE):
            (folder / more).unlink(missing_ok=True)
        for file, told in ((layout.CARD, made.card), (layout.CONFIG, made.config)):  # as a training writes them
            (folder / file).write_text(json.dumps(told, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        size = _put(w, folder, made.key)
    values = made.model_dump(include=set(COLUMNS)) | {
        "job_id": None,
        "size": size,
        "code_version": str(found.model.get("code_version") or "")[:64],
        "created_at": w.clock(),
    }
    adapter = made.card.get("adapter")
    try:
        with w.catalog.write() as tx:
            if adapter:
                values["parent_pk"] = _base(tx, tenant, found, str(adapter.get("base"))).id
            version_id, number = tx.models.publish(tenant, name, values)
            if number != 1:
                raise _taken(name)
            return present.model(tx.models.get(version_id))
    except Conflict:
        # Somebody took the name meanwhile: another import, or this one, tried again because its answer was lost.
        known = _standing(w, tenant, name, upload)
        if known is None:
            raise
        return known


def _standing(w: Wiring, tenant: str, name: str, upload: str) -> dict[str, Any] | None:
    with w.catalog.read() as tx:
        first = tx.models.find(tenant, ModelRef(name, 1))
    if first is None:
        return None
    origin = first.card.get("origin")
    if isinstance(origin, dict) and origin.get("archive") == upload:
        return present.model(first)
    raise _taken(name)


def _fetch(w: Wiring, tenant: str, upload: str, to: Path) -> None:
    try:
        stored = w.store.fetch(layout.upload(tenant, upload), to)
    except NotFound:
        raise NotFound(f"There is no upload {upload}.", "Send it with PUT.") from None
    if stored.sha256 != upload:
        raise BadRequest(f"The upload {upload} is damaged in the store.", "Remove it there, and send it again.")


def _checked(w: Wiring, tenant: str, found: Exported, upload: str) -> wire.ModelBody:
    """Return the model as it is to be published here, its card with its origin."""
    told, recipe = found.model, str(found.model.get("recipe"))
    if not found.card.get("code") and recipe not in w.recipes.names():
        raise BadRequest(
            f"The model {found.ref} is of the recipe {recipe!r:.100}, which is not known here.",
            f"Install the package that brings it. Known: {', '.join(w.recipes.names())}.",
        )
    fault = schema_fault(found.card.get("cond"))
    if fault is not None:
        raise BadRequest(f"The `cond` of the card of {found.ref} is no JSON Schema of conditions. {fault}", "Mend it.")
    kept = ("name", "version", "digest", "job_id", "parent", "created_at")
    origin = {key: told.get(key) for key in kept} | {"archive": upload}
    licence = {} if found.licence is None else {"licence": found.licence}
    fields = ("recipe", "modality", "tile", "digest", "data_digest", "metrics")
    return wire.parse(
        wire.ModelBody,
        {key: told.get(key) for key in fields}
        | {"config": dict(found.config), "key": layout.model(tenant, str(told["digest"])), "size": 0}
        | {"card": {**found.card, **licence, "config": dict(found.config), "origin": origin}},
    )


def _base(tx: Transaction, tenant: str, found: Exported, digest: str) -> ModelRow:
    """Return the version here whose adapters have come: without it they are nothing."""
    base = tx.models.of_digest(tenant, digest)
    if base is None:
        raise BadRequest(
            f"The model {found.ref} is adapters on the model with the digest {digest:.64}, which is not here.",
            f"Export and import that one first: it was {found.model.get('parent')} there.",
        )
    return base


def _put(w: Wiring, folder: Path, key: str) -> int:
    """Store the model's files and return their size; those of the same model may stand there already."""
    try:
        return sum(stored.size for stored in w.store.put_tree(folder, key))
    except Conflict:
        size = 0
        for path in sorted(folder.iterdir()):
            stored = w.store.measure(f"{key}/{path.name}")
            # Its card may say more or less than this one: a version's own is in the record.
            if path.name != layout.CARD and stored.sha256 != _sha256(path):
                raise
            size += stored.size
        return size


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _taken(name: str) -> Conflict:
    return Conflict(f"There is a model {name!r} already.", "Import it under another name: --name NAME.")
