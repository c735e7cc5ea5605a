"""Reading the registry of models."""

from __future__ import annotations

from typing import Any, BinaryIO

from genplatform.errors import NotFound
from genplatform.services import lookup, present
from genplatform.services.context import Wiring
from genplatform.services.outputs import opened


def ls(w: Wiring, tenant: str) -> dict[str, Any]:
    """Return every version of every model."""
    with w.catalog.read() as tx:
        return {"models": [present.model(m) for m in tx.models.all(tenant)]}


def show(w: Wiring, tenant: str, ref: str) -> dict[str, Any]:
    """Return one version, with its card, what was found when it was judged, and where its files lie."""
    with w.catalog.read() as tx:
        row = lookup.model(tx, tenant, ref)
        evaluations = tx.evaluations.of_version(row.id)
    files = {"uri": w.store.uri(row.key) if row.key else None, "size": row.size}
    judged = {"evaluations": [present.evaluation(one) for one in evaluations]}
    return (
        present.model(row) | judged | {"config": row.config, "code_version": row.code_version, "card": row.card} | files
    )


def sheet(w: Wiring, tenant: str, ref: str) -> bytes:
    """Return the last sheet of sample pictures that a version's training drew, as a PNG.

    Raises NotFound when there is none: models of texts have texts instead.
    """
    with w.catalog.read() as tx:
        row = lookup.model(tx, tenant, ref)
        job = tx.jobs.by_id(tenant, row.job_id) if row.job_id is not None else None
        drawn = tx.artifacts.of_job(job.id, "sheet") if job is not None else []
    sheets = [one for one in drawn if one.key.endswith(".png")]
    if not sheets:
        raise NotFound(
            f"There is no sheet of sample pictures of {row.ref}.",
            "Make some with it: kind: generate, and look at those.",
        )
    return w.store.read_bytes(sheets[0].key)


def files(w: Wiring, tenant: str, ref: str) -> dict[str, Any]:
    """Return the names of one version's files in the store; a built-in model has none."""
    key = _key(w, tenant, ref)
    names = [] if key is None else [one.removeprefix(f"{key}/") for one in w.store.list(key)]
    return {"files": [{"path": name} for name in names]}


def content(w: Wiring, tenant: str, ref: str, path: str) -> tuple[BinaryIO, int]:
    """Open one of a version's files, and return it with its size; the caller closes it."""
    key = _key(w, tenant, ref)
    if key is None or f"{key}/{path}" not in w.store.list(key):
        raise NotFound(f"The model {ref!r} has no file {path!r:.200}.", "GET its /files tells which it has.")
    return opened(w, f"{key}/{path}", f"{path} of {ref}")


def _key(w: Wiring, tenant: str, ref: str) -> str | None:
    with w.catalog.read() as tx:
        return lookup.model(tx, tenant, ref).key or None
