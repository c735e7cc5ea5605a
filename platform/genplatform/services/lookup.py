"""Find what a person means: a job by id, unique prefix or name; a model by reference."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from genplatform.catalog import JobRow, ModelRow, Transaction
from genplatform.domain.ids import is_id_prefix
from genplatform.domain.names import parse_model_ref
from genplatform.errors import BadRequest, GenctlError, NotFound

# A prefix shorter than this would match by accident.
SHORTEST_PREFIX = len("j_") + 1
# Up to so many are looked up one by one: a name of very many jobs costs nothing then.
FEW = 20
MOST_ERRORS = 100


def job(tx: Transaction, tenant: str, ref: str) -> JobRow:
    """Return the job meant by `ref`: a whole id, a name (its newest job), or a prefix of an id, in this order."""
    exact = (tx.jobs.by_id(tenant, ref) if is_id_prefix(ref, "j") else None) or tx.jobs.by_name(tenant, ref)
    if exact is not None:
        return exact
    if is_id_prefix(ref, "j") and len(ref) >= SHORTEST_PREFIX:
        found = tx.jobs.by_prefix(tenant, ref, limit=3)
        if len(found) == 1:
            return found[0]
        if found:
            raise BadRequest(
                f"The id prefix {ref!r} fits several jobs, among them {found[0].job_id} and {found[1].job_id}.",
                "Give more of its letters.",
            )
    raise NotFound(f"There is no job {ref!r}.", "`genctl ps -a` lists all jobs.")


def jobs(tx: Transaction, tenant: str, refs: Sequence[str]) -> dict[str, JobRow | GenctlError]:
    """Return the job that each of many means, or the error that says why there is none; after many errors no more."""
    if len(refs) <= FEW:
        found: dict[str, JobRow | GenctlError] = {}
    else:
        by_id = {row.job_id: row for row in tx.jobs.by_ids(tenant, [ref for ref in refs if is_id_prefix(ref, "j")])}
        found = {**tx.jobs.by_names(tenant, [ref for ref in refs if ref not in by_id]), **by_id}
    errors = 0
    for ref in refs:
        if ref in found:
            continue
        try:
            found[ref] = job(tx, tenant, ref)
        except GenctlError as error:
            found[ref] = error
            errors += 1
            if errors > MOST_ERRORS:
                break
    return found


def model(tx: Transaction, tenant: str, text: str) -> ModelRow:
    """Return the model version meant by `text`."""
    ref = parse_model_ref(text)
    if ref is None:
        raise BadRequest(f"{text!r} is not a model reference.", "Write NAME, NAME@3 or NAME@latest.")
    found = tx.models.find(tenant, ref)
    if found is None:
        raise NotFound(f"There is no model {text!r}.", model_hint(tx, tenant, ref.name))
    return found


def model_hint(tx: Transaction, tenant: str, name: str) -> str:
    """Say what models there are, the nearest name first."""
    names = tx.models.names(tenant)
    if name in names:
        return "`genctl models ls` lists its versions."
    near = nearest(name, names)
    return f"Did you mean {near!r}? " * bool(near) + "`genctl models ls` lists what there is."


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the name that looks most like `name`, if one does."""
    found = difflib.get_close_matches(name, list(names), n=1)
    return found[0] if found else None
