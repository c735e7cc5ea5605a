"""What a job file's jobs want of the catalog: the jobs they need, and the models they generate with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genplatform.catalog import JobRow, Transaction
from genplatform.domain.job import JobKind
from genplatform.domain.names import ModelRef
from genplatform.domain.paths import is_within
from genplatform.domain.states import JobState
from genplatform.domain.times import rfc3339
from genplatform.errors import BadSpec, GenctlError, NotFound, SpecProblem
from genplatform.services import lookup
from genplatform.services.plans import Plan
from genplatform.spec import MAX_PROBLEMS, at_most, deadline_at, parse_stored, published_name

Needs = dict[int, list[JobRow]]


def resolve(tx: Transaction, tenant: str, plans: Sequence[Plan], *, lock: bool = False) -> Needs:
    """Return the jobs of the catalog that each of the file's jobs needs, by its index; raises BadSpec.

    With `lock` they are kept as they are for this transaction.
    """
    in_file = {plan.name: plan for plan in plans}
    needy = [plan for plan in plans if plan.needs]
    outside = dict.fromkeys(need for plan in needy for need in plan.needs if need not in in_file)
    named = _named(tx, tenant, list(outside), lock=lock)
    problems: list[SpecProblem] = []
    found: Needs = {}
    for plan in needy:
        rows: dict[int, JobRow] = {}
        for need in plan.needs:
            row = named.get(need)
            if isinstance(row, GenctlError):
                problems.append(plan.problem(f"needs: {row.message}", "needs", row.hint))
            elif row is not None:
                rows[row.id] = row
                if row.job_state in (JobState.FAILED, JobState.CANCELLED):
                    message = f"needs: job {row.job_id} ({row.name}) has {row.state}, so this one could never start."
                    problems.append(plan.problem(message, "needs", "Need a job that can still succeed."))
        found[plan.document_index] = list(rows.values())
        if len(problems) > MAX_PROBLEMS:
            break
    problems += _model_problems(tx, tenant, plans, in_file, found)
    if problems:
        raise BadSpec(at_most(MAX_PROBLEMS, problems))
    return found


def refuse_late(plans: Sequence[Plan], now: float) -> None:
    """Raise BadSpec for deadlines that have passed."""
    late = [one for one in plans if one.deadline is not None and (deadline_at(one.deadline, now) or 0.0) <= now]
    if late:
        hint = f"It is {rfc3339(now)} now. Give a later time, or a duration such as 12h."
        some = late[: MAX_PROBLEMS + 1]
        problems = [one.problem(f"deadline is {one.deadline}, which has passed.", "deadline", hint) for one in some]
        raise BadSpec(at_most(MAX_PROBLEMS, problems))


def refuse_folders(plans: Sequence[Plan], allowed: Sequence[str]) -> None:
    """Raise BadSpec for folders, named by their paths, that this platform does not read from."""
    outside = [one for one in plans if one.folder is not None and not is_within(one.folder, allowed)]
    if outside:
        read = f"It reads: {', '.join(allowed)}." if allowed else "It reads none."
        hint = f"{read} Its operator sets them with GENCTL_LOCAL_FOLDERS."
        some = outside[: MAX_PROBLEMS + 1]
        problems = [
            one.problem(f"{one.folder_field}: this platform reads no files from {one.folder}.", one.folder_field, hint)
            for one in some
        ]
        raise BadSpec(at_most(MAX_PROBLEMS, problems))


def _named(tx: Transaction, tenant: str, needs: Sequence[str], *, lock: bool) -> dict[str, JobRow | GenctlError]:
    """Return the job that each need names, or the error that says why there is none."""
    found = lookup.jobs(tx, tenant, needs)
    if not lock:
        return found
    rows = [row for row in found.values() if isinstance(row, JobRow)]
    tx.jobs.lock({row.id for row in rows})
    locked = {row.id: row for row in tx.jobs.by_ids(tenant, list({row.job_id for row in rows}))}
    return {need: locked.get(row.id, _pruned(row)) if isinstance(row, JobRow) else row for need, row in found.items()}


def _pruned(row: JobRow) -> NotFound:
    return NotFound(f"Job {row.job_id} ({row.name}) has just been pruned.", "Need one that is there.")


def _model_problems(
    tx: Transaction, tenant: str, plans: Sequence[Plan], in_file: dict[str, Plan], needs: Needs
) -> list[SpecProblem]:
    """Return what is wrong with the models that jobs use: neither there nor promised by a needed job.

    What a training builds on must be one version besides, whenever one of its Runs starts.
    """
    missing = tx.models.missing(tenant, [ref for ref in {plan.model for plan in plans} if ref is not None])
    loose = [plan for plan in plans if plan.model in missing or _floats(plan)]
    if not loose:
        return []
    makers = {plan.publishes: plan.name for plan in reversed(plans) if plan.publishes is not None}
    published = {row.id: published_name(parse_stored(row.spec)) for rows in needs.values() for row in rows}
    problems: list[SpecProblem] = []
    for plan in loose:
        ref = plan.model
        assert ref is not None  # noqa: S101 - of those that use one
        promised = {in_file[name].publishes for name in plan.needs if name in in_file}
        promised |= {published[row.id] for row in needs.get(plan.document_index, ())}
        if ref.name not in promised and ref not in missing:
            problems.append(_floating(tx, tenant, plan, ref))
        elif ref.name not in promised:
            hint = "" if ref.name in makers else lookup.model_hint(tx, tenant, ref.name)
            problems.append(_model_problem(plan, ref, makers.get(ref.name), hint))
            if len(problems) > MAX_PROBLEMS:
                break
    return problems


def _field(plan: Plan) -> str:
    """Return the field that names the model which a job uses."""
    return builds_by(plan.spec()) if plan.kind == JobKind.TRAIN else "model"


def builds_by(spec: Mapping[str, Any]) -> str:
    """Return the field by which a training names the published model that it builds on."""
    return "base" if spec.get("base") is not None else "first_stage"


def _floats(plan: Plan) -> bool:
    # Others are pinned to a version with their first Run.
    return plan.kind == JobKind.TRAIN and plan.model is not None and plan.model.version is None


def _floating(tx: Transaction, tenant: str, plan: Plan, ref: ModelRef) -> SpecProblem:
    newest = tx.models.find(tenant, ref)
    message = f"{_field(plan)}: {str(ref)!r} may be another version whenever a run of this job starts."
    hint = f"Write {newest.ref if newest else f'{ref.name}@VERSION'}, or need the job that publishes it."
    return plan.problem(message, _field(plan), hint)


def _model_problem(plan: Plan, ref: ModelRef, maker: str | None, hint: str) -> SpecProblem:
    field = _field(plan)
    if maker is None:
        return plan.problem(f"{field}: there is no model {str(ref)!r}.", field, hint)
    message = f"{field}: there is no model {str(ref)!r} yet, and this job does not wait for the one that makes it."
    return plan.problem(message, field, f"Add `needs: [{maker}]`.")
