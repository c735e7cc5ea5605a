"""Reading jobs: one, a page of them, their events, log lines and artifacts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from genplatform.domain.states import TERMINAL_JOB_STATES, JobState
from genplatform.errors import BadRequest
from genplatform.services import lookup, present
from genplatform.services.context import Wiring


def show(w: Wiring, tenant: str, ref: str) -> dict[str, Any]:
    """Return one job; while it is queued, with its `position` in the line, counted now."""
    with w.catalog.read() as tx:
        row = lookup.job(tx, tenant, ref)
        position = tx.queued.ahead_of(row) + 1 if row.job_state is JobState.QUEUED else None
        return present.jobs(w, tx, [row])[0] | {"position": position}


def ps(
    w: Wiring,
    tenant: str,
    *,
    states: Sequence[str] = (),
    queue: str | None = None,
    all: bool = False,
    limit: int = 50,
    after: str | None = None,
) -> dict[str, Any]:
    """Return a page of jobs, newest first; without `all` or `states`, those that have not ended."""
    wanted = _states(states, all)
    with w.catalog.read() as tx:
        rows = tx.jobs.page(tenant, states=wanted, queue=queue, before=cursor(after), limit=limit + 1)
        page = rows[:limit]
        following = str(page[-1].id) if len(rows) > limit else None
        return {"jobs": present.jobs(w, tx, page), "next": following}


def events(
    w: Wiring, tenant: str, ref: str, *, limit: int = 100, after: str | None = None, types: Sequence[str] = ()
) -> dict[str, Any]:
    """Return a page of a job's events, oldest first. `next` is the last id seen; ask again with it to follow."""
    with w.catalog.read() as tx:
        row = lookup.job(tx, tenant, ref)
        page = tx.events.page(row.id, after=cursor(after) or 0, limit=limit, types=types)
    return {"events": [present.event(e) for e in page], "next": str(page[-1].id) if page else after}


def logs(
    w: Wiring,
    tenant: str,
    ref: str,
    *,
    run: int | None = None,
    after: int = 0,
    tail: int | None = None,
    since: float | None = None,
    search: str | None = None,
    limit: int = 1000,
) -> dict[str, Any]:
    """Return log lines, oldest first; `next` is the last id seen. `search` keeps those with a text in them."""
    with w.catalog.read() as tx:
        row = lookup.job(tx, tenant, ref)
        page = tx.events.log_page(row.id, run=run, after=after, since=since, tail=tail, limit=limit, search=search)
    return {"lines": [present.log_line(line) for line in page], "next": page[-1].id if page else after}


def artifacts(w: Wiring, tenant: str, ref: str) -> dict[str, Any]:
    """Return a job's artifacts, newest first."""
    with w.catalog.read() as tx:
        row = lookup.job(tx, tenant, ref)
        return {"artifacts": [present.artifact(w, a) for a in tx.artifacts.of_job(row.id)]}


def _states(states: Sequence[str], everything: bool) -> list[str]:
    known = [s.value for s in JobState]
    for state in states:
        if state not in known:
            raise BadRequest(f"There is no job state {state!r}.", f"The states are {', '.join(known)}.")
    if states:
        return list(states)
    return [] if everything else [s for s in known if s not in TERMINAL_JOB_STATES]


def cursor(after: str | None) -> int | None:
    """Return the inside key that a page mark is; raises BadRequest for what is none."""
    if after is None or after == "":
        return None
    if not after.isdecimal() or len(after) > 18:
        raise BadRequest(f"{after!r} is not a page mark.", "Give the `next` of the page before.")
    return int(after)
