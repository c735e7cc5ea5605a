"""Submit: a job file becomes jobs, in one transaction, before the answer is given.

Once the commit is done, nothing that is killed next loses the jobs: their ids go to Redis
afterwards, and when that fails the reconciler finds them. The same idempotency key with
the same body is the same jobs; with another body it is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from genplatform.catalog import JobRow, Transaction
from genplatform.domain.ids import new_id
from genplatform.domain.job import JobKind, ReasonCode
from genplatform.domain.keys import JobKey
from genplatform.domain.states import TERMINAL_JOB_STATES, JobState
from genplatform.domain.times import rfc3339
from genplatform.errors import BadSpec, GenctlError, SpecProblem
from genplatform.services import idempotency, lookup, present
from genplatform.services.context import Wiring, hint
from genplatform.spec import JobDocument, deadline_at, load, model_ref, parse_stored, published_name


def submit(
    w: Wiring,
    tenant: str,
    body: bytes,
    media_type: str,
    *,
    key: str | None = None,
    sets: Sequence[str] = (),
    overrides: Mapping[str, str] | None = None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Check a job file and commit its jobs; returns `{"jobs": [...], "next": None}`.

    With `dry_run` everything is checked and nothing is kept: the specs are returned with
    their defaults. Raises BadSpec with every problem, Conflict for a key used for another body.
    """
    idempotency.check(key)
    asked = _digest(body, media_type, sets, overrides or {})
    known = None if dry_run else idempotency.answered(w, tenant, key, asked)
    if known is not None:
        return known
    documents = load(body, media_type, w.recipes, sets, overrides or {})
    _refuse_late(documents, w.clock())
    if dry_run:
        with w.catalog.read() as tx:
            _resolve(tx, tenant, documents)
        return {"jobs": [_planned(d) for d in documents], "next": None}
    try:
        with w.catalog.write() as tx:
            submission = None
            if key is not None:
                submission = tx.jobs.add_submission(tenant, key, asked, len(documents), w.clock())
                if submission is None:
                    raise idempotency.SameKey
            keys = _insert(w, tx, tenant, documents, submission)
            answer = present.jobs(w, tx, tx.jobs.by_ids(tenant, [k.job_id for k in keys]))
    except idempotency.SameKey:
        return idempotency.answered(w, tenant, key, asked) or {"jobs": [], "next": None}
    with hint():
        w.queues.submit(keys)
    return {"jobs": answer, "next": None}


def _refuse_late(documents: Sequence[JobDocument], now: float) -> None:
    """Raise BadSpec for deadlines that have passed."""
    late = [d for d in documents if (at := deadline_at(d.spec, now)) is not None and at <= now]
    hint = f"It is {rfc3339(now)} now. Give a later time, or a duration such as 12h."
    if late:
        raise BadSpec([d.problem(f"deadline is {d.spec.deadline}, which has passed.", "deadline", hint) for d in late])


def _insert(
    w: Wiring, tx: Transaction, tenant: str, documents: Sequence[JobDocument], submission: int | None
) -> list[JobKey]:
    """Add the jobs, their needs and their first events."""
    now = w.clock()
    needs = _resolve(tx, tenant, documents, lock=True)
    made: dict[str, int] = {}
    keys: list[JobKey] = []
    for document in documents:
        spec = document.spec
        inside = [made[n] for n in spec.needs if n in made]
        outside = needs[document.document_index]
        wanted = inside + [j.id for j in outside]
        open_needs = len(inside) + sum(j.job_state not in TERMINAL_JOB_STATES for j in outside)
        values = _row(document) | {
            "tenant_id": tenant,
            "job_id": new_id("j", w.randbelow),
            "state": (JobState.WAITING if open_needs else JobState.QUEUED).value,
            "open_needs": open_needs,
            "submission_pk": submission,
            "deadline_at": deadline_at(spec, now),
            "created_at": now,
        }
        if open_needs:
            names = ", ".join(spec.needs)
            values |= {"reason_code": ReasonCode.NEEDS_JOB.value, "reason_message": f"It waits for {names}."}
        made[spec.name] = job_pk = tx.jobs.insert(values)
        tx.jobs.add_needs(tenant, job_pk, dict.fromkeys(wanted))
        tx.events.add(tenant, job_pk, now, "submitted", {"state": values["state"]})
        keys.append(JobKey(tenant, values["job_id"]))
    return keys


def _row(document: JobDocument) -> dict[str, Any]:
    spec = document.spec.model_dump(mode="json")
    train = document.kind == JobKind.TRAIN
    return {
        "name": spec["name"],
        "kind": document.kind,
        "queue": spec["queue"],
        "priority": spec["priority"],
        "labels": spec["labels"],
        "spec": spec,
        "run": 0,
        "workers": 0,
        "done": 0,
        "total": (spec["budget"]["steps"] or 0) if train else spec["count"],
        "unit": "steps" if train else "items",
    }


def _resolve(
    tx: Transaction, tenant: str, documents: Sequence[JobDocument], *, lock: bool = False
) -> dict[int, list[JobRow]]:
    """Return, a document, the jobs of the catalog that it needs; raises BadSpec for what does not exist."""
    problems: list[SpecProblem] = []
    in_file = {d.spec.name: d for d in documents}
    named = _named(tx, tenant, [n for d in documents for n in d.spec.needs if n not in in_file], lock=lock)
    found: dict[int, list[JobRow]] = {}
    for document in documents:
        rows: dict[int, JobRow] = {}
        for need in document.spec.needs:
            row = named.get(need)
            if row is None:
                continue
            if isinstance(row, GenctlError):
                problems.append(document.problem(f"needs: {row.message}", "needs", row.hint))
                continue
            if row.job_state in (JobState.FAILED, JobState.CANCELLED):
                message = f"needs: job {row.job_id} ({row.name}) has {row.state}, so this one could never start."
                problems.append(document.problem(message, "needs", "Need a job that can still succeed."))
            rows[row.id] = row
        found[document.document_index] = list(rows.values())
        promised = [in_file[n].spec for n in document.spec.needs if n in in_file]
        promised += [parse_stored(row.spec) for row in rows.values()]
        problem = _model_problem(tx, tenant, document, {published_name(s) for s in promised}, in_file)
        if problem is not None:
            problems.append(problem)
    if problems:
        raise BadSpec(problems)
    return found


def _named(tx: Transaction, tenant: str, needs: Sequence[str], *, lock: bool) -> dict[str, JobRow | GenctlError]:
    """Return the job that each need names, or the error that says why there is none."""
    found: dict[str, JobRow | GenctlError] = {}
    for need in dict.fromkeys(needs):
        try:
            found[need] = lookup.job(tx, tenant, need)
        except GenctlError as error:
            found[need] = error
    if not lock:
        return found
    # Oldest first, as everybody does: two that need the same jobs must not wait for each other.
    rows = sorted({r.id: r for r in found.values() if isinstance(r, JobRow)}.items())
    locked = {pk: tx.jobs.by_id(tenant, row.job_id, lock=True) for pk, row in rows}
    return {n: (locked[row.id] or row) if isinstance(row, JobRow) else row for n, row in found.items()}


def _model_problem(
    tx: Transaction,
    tenant: str,
    document: JobDocument,
    promised: set[str | None],
    in_file: Mapping[str, JobDocument],
) -> SpecProblem | None:
    """Return what is wrong with a generate job's model: it is neither there nor promised by a needed job."""
    ref = model_ref(document.spec)
    if ref is None or ref.name in promised or tx.models.find(tenant, ref) is not None:
        return None
    for name, other in in_file.items():
        if published_name(other.spec) == ref.name:
            message = (
                f"model: there is no model {str(ref)!r} yet, and this job does not wait for the one that makes it."
            )
            return document.problem(message, "model", f"Add `needs: [{name}]`.")
    return document.problem(f"model: there is no model {str(ref)!r}.", "model", lookup.model_hint(tx, tenant, ref.name))


def _planned(document: JobDocument) -> dict[str, Any]:
    row = _row(document)
    return {"id": None, "state": None} | {k: row[k] for k in ("name", "kind", "queue", "priority", "labels", "spec")}


def _digest(body: bytes, media_type: str, sets: Sequence[str], overrides: Mapping[str, str]) -> str:
    said = json.dumps([media_type, list(sets), dict(sorted(overrides.items()))]).encode()
    return hashlib.sha256(said + b"\0" + body).hexdigest()
