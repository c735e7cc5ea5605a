"""Jobs: submit, list, show, steer, and what a job left behind."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Request
from fastapi import Query as InQuery
from pydantic import BaseModel, ConfigDict, Field
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from genplatform.api import told
from genplatform.api.deps import Page, Query, Ref, Tenant, Wired
from genplatform.api.shapes import Artifacts, Diff, Events, Job, Jobs, LogLines, Submitted, shape
from genplatform.api.uploads import JSON, LINES, YAML, media_type_of
from genplatform.domain.job import HIGHEST_PRIORITY
from genplatform.domain.states import JobState
from genplatform.services import cancel as cancelling
from genplatform.services import diff as differing
from genplatform.services import jobs, submit
from genplatform.services import pause as pausing
from genplatform.services import resume as resuming
from genplatform.services import retry as retrying
from genplatform.services import update as updating
from genplatform.services.context import Effects
from genplatform.services.idempotency import LONGEST_KEY

router = APIRouter(prefix="/jobs", tags=["jobs"])


class SubmitQuery(Query):
    """What a submit may change about the documents it sends."""

    set: list[str] = Field(default_factory=list, max_length=100, description="K=V, a field of the job file.")
    name: str | None = Field(None, max_length=200)
    queue: str | None = Field(None, max_length=200)
    priority: int | None = Field(None, ge=0, le=HIGHEST_PRIORITY)
    dry_run: bool = False


class ListQuery(Page):
    """Which jobs to list, newest first. Without `all` and `state`: those that are not over."""

    state: list[JobState] = Field(default_factory=list, max_length=len(JobState))
    queue: str | None = Field(None, max_length=200)
    all: bool = False


class EventsQuery(Page):
    """Which events to list, oldest first."""

    type: list[str] = Field(default_factory=list, max_length=50)


class LogsQuery(Query):
    """Which log lines to list: those after the id `after`, or the last `tail`, or those since a time."""

    run: int | None = Field(None, ge=1)
    after: int = Field(0, ge=0)
    tail: int | None = Field(None, ge=0, le=10_000)
    since: float | None = Field(None, ge=0, allow_inf_nan=False, description="Seconds since the epoch.")
    search: str | None = Field(None, min_length=1, max_length=200, description="Only lines with this text in them.")
    limit: int = Field(1000, ge=1, le=10_000)


class Change(BaseModel):
    """What to change about a job."""

    model_config = ConfigDict(extra="forbid")

    priority: int = Field(ge=0, le=HIGHEST_PRIORITY, description="Higher goes first.")


IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=LONGEST_KEY)]


@router.post(
    "",
    status_code=201,
    response_model=None,
    responses=shape(Submitted, 201),
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": (
                "The job file as it is: one or more documents; in JSON up to 100,000, as an array or one a line. "
                "GET /api/v1/schema describes it."
            ),
            "content": {YAML: {"schema": {"type": "string"}}, JSON: {"schema": {}}, LINES: {"schema": {}}},
        }
    },
)
async def submit_jobs(
    w: Wired,
    tenant: Tenant,
    request: Request,
    query: Annotated[SubmitQuery, InQuery()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Submit a job file: all of its jobs are made, or none.

    The same key with the same body answers with the same jobs. Of more than 1000 the first are
    answered; GET /api/v1/submissions/KEY/jobs lists them all. Who accepts application/x-ndjson is
    told meanwhile, a line at a time, how many documents are read and how many jobs stored; the last
    line has the status and the answer.
    """
    body = await request.body()
    effects, progress = Effects(), submit.Progress()
    given = {"name": query.name, "queue": query.queue, "priority": query.priority}
    overrides = {field: str(value) for field, value in given.items() if value is not None}
    act = partial(
        submit.submit,
        w,
        tenant,
        body,
        media_type_of(request.headers.get("content-type", "")),
        key=idempotency_key,
        sets=query.set,
        overrides=overrides,
        dry_run=query.dry_run,
        effects=effects,
        progress=progress,
    )
    status = 200 if query.dry_run else 201
    if told.is_wanted(request.headers.get("accept", "")):
        return told.told(act, status, progress, effects, request.state.request_id)
    answer = await run_in_threadpool(act)
    # The answer waits for the commit and not for Redis.
    return JSONResponse(answer, status_code=status, background=BackgroundTask(effects.run))


@router.get("", responses=shape(Jobs))
def list_jobs(w: Wired, tenant: Tenant, query: Annotated[ListQuery, InQuery()]) -> JSONResponse:
    """List jobs."""
    states = [state.value for state in query.state]
    return JSONResponse(
        jobs.ps(w, tenant, states=states, queue=query.queue, all=query.all, limit=query.limit, after=query.after)
    )


@router.get("/{ref}", responses=shape(Job))
def show_job(w: Wired, tenant: Tenant, ref: Ref) -> JSONResponse:
    """Show one job."""
    return JSONResponse(jobs.show(w, tenant, ref))


@router.post("/{ref}/cancel", responses=shape(Job))
def cancel_job(w: Wired, tenant: Tenant, ref: Ref) -> JSONResponse:
    """Ask a job to stop; what it published stays. A job that is over stays as it is."""
    return JSONResponse(cancelling.cancel(w, tenant, ref))


@router.post("/{ref}/pause", responses=shape(Job))
def pause_job(w: Wired, tenant: Tenant, ref: Ref) -> JSONResponse:
    """Pause a job: it gives its workers up and keeps what it made. One at work is `paused` once it has let go."""
    return JSONResponse(pausing.pause(w, tenant, ref))


@router.post("/{ref}/resume", responses=shape(Job))
def resume_job(w: Wired, tenant: Tenant, ref: Ref) -> JSONResponse:
    """Resume a paused job, or take back a pause that is not done yet."""
    return JSONResponse(resuming.resume(w, tenant, ref))


@router.post("/{ref}/retry", responses=shape(Jobs))
def retry_job(w: Wired, tenant: Tenant, ref: Ref, idempotency_key: IdempotencyKey = None) -> JSONResponse:
    """Do a failed or cancelled job again as a new job, and with it those that were cancelled because of it.

    A job that backs off goes on now. One that was retried and whose retry is open answers with that.
    """
    return JSONResponse(retrying.retry(w, tenant, ref, key=idempotency_key))


@router.patch("/{ref}", responses=shape(Job))
def update_job(w: Wired, tenant: Tenant, ref: Ref, change: Change) -> JSONResponse:
    """Give a job that has not ended another priority."""
    return JSONResponse(updating.update(w, tenant, ref, priority=change.priority))


@router.get("/{ref}/events", responses=shape(Events))
def list_events(w: Wired, tenant: Tenant, ref: Ref, query: Annotated[EventsQuery, InQuery()]) -> JSONResponse:
    """List what happened to a job."""
    return JSONResponse(jobs.events(w, tenant, ref, limit=query.limit, after=query.after, types=query.type))


@router.get("/{ref}/logs", responses=shape(LogLines))
def list_logs(w: Wired, tenant: Tenant, ref: Ref, query: Annotated[LogsQuery, InQuery()]) -> JSONResponse:
    """List what a job's runs logged."""
    return JSONResponse(
        jobs.logs(
            w,
            tenant,
            ref,
            run=query.run,
            after=query.after,
            tail=query.tail,
            since=query.since,
            search=query.search,
            limit=query.limit,
        )
    )


@router.get("/{ref}/diff/{other}", responses=shape(Diff))
def diff_jobs(w: Wired, tenant: Tenant, ref: Ref, other: Ref) -> JSONResponse:
    """Tell in what two jobs differ: spec, data, code, versions, model and result."""
    return JSONResponse(differing.diff(w, tenant, ref, other))


@router.get("/{ref}/artifacts", responses=shape(Artifacts))
def list_artifacts(w: Wired, tenant: Tenant, ref: Ref) -> JSONResponse:
    """List a job's checkpoints, sample sheets, manifests and models."""
    return JSONResponse(jobs.artifacts(w, tenant, ref))
