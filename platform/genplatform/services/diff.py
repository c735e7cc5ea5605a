"""Diff: what two jobs did differently, from what was asked to what came out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from genplatform.catalog import JobRow, ModelRow, Transaction
from genplatform.domain import recipe_code
from genplatform.domain.job import PUBLISHES_MODEL
from genplatform.domain.states import JobState
from genplatform.errors import BadSpec
from genplatform.services import lookup, present
from genplatform.services.context import Wiring
from genplatform.spec import parse_stored

# In the order in which they are told: what was asked, what it was done with, what came of it.
PARTS = ("spec", "data", "code", "versions", "model", "result")

Facts = dict[tuple[str, str], Any]


def diff(w: Wiring, tenant: str, one: str, other: str) -> dict[str, Any]:
    """Return two jobs and in what they differ: `{"jobs": [a, b], "differences": [{part, field, a, b}]}`.

    What one of them does not have, or has not yet, is null. Their names, ids and times are no differences.
    """
    with w.catalog.read() as tx:
        rows = [lookup.job(tx, tenant, ref) for ref in (one, other)]
        a, b = (_facts(tx, row) for row in rows)
        shown = present.jobs(w, tx, rows)
    fields = sorted(a.keys() | b.keys(), key=lambda key: (PARTS.index(key[0]), key[1]))
    different = [(key, a.get(key), b.get(key)) for key in fields if a.get(key) != b.get(key)]
    return {
        "jobs": shown,
        "differences": [{"part": part, "field": field, "a": ours, "b": its} for (part, field), ours, its in different],
    }


def _facts(tx: Transaction, job: JobRow) -> Facts:
    version = None if job.model_version_id is None else tx.models.get(job.model_version_id)
    found: Facts = {("spec", field): value for field, value in _flat(_spec(job))}
    found["result", "state"] = job.state
    if version is not None and job.kind in PUBLISHES_MODEL and job.job_state is JobState.SUCCEEDED:
        found |= _trained(version)
    elif version is not None:
        found |= {("model", "version"): version.ref, ("model", "digest"): version.digest}
    code = recipe_code.parse(str(job.spec.get("recipe", "")))
    if code is not None:
        found["spec", "recipe"] = f"{code.module}:{code.cls}"
        found["code", "recipe"] = code.digest
    return found


def _spec(job: JobRow) -> Mapping[str, Any]:
    """Return what was asked, with the defaults of now for what was no field then; without the job's own name."""
    try:
        spec: Mapping[str, Any] = parse_stored(job.spec).model_dump(mode="json")
    except BadSpec:
        spec = job.spec
    own = {"name"} | ({"publish"} if spec.get("publish") == job.name else set())
    return {field: value for field, value in spec.items() if field not in own}


def _trained(version: ModelRow) -> Facts:
    card = version.card
    told: Facts = {
        ("data", "digest"): version.data_digest,
        ("code", "genctl"): version.code_version,
        ("result", "model digest"): version.digest,
    }
    told |= {("versions", name): value for name, value in _flat(card.get("versions"))}
    told |= {("result", f"metrics.{name}"): value for name, value in _flat(version.metrics)}
    told |= {("result", name): card[name] for name in ("steps", "parameters") if name in card}
    return told


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what stands at the ends of nested mappings, each with its path."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    elif value is not None:
        yield path, value
