"""Submissions: what one request made, by its idempotency key."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi import Query as InQuery
from starlette.responses import JSONResponse

from genplatform.api.deps import Page, Tenant, Wired
from genplatform.api.shapes import Submission, Submitted, shape
from genplatform.services import submissions
from genplatform.services.idempotency import LONGEST_KEY

router = APIRouter(prefix="/submissions", tags=["jobs"])

# A key may hold anything that a header may, slashes too.
Key = Annotated[str, Path(min_length=1, max_length=LONGEST_KEY, description="The Idempotency-Key of the submit.")]


@router.get("/{key:path}/jobs", responses=shape(Submitted))
def list_submitted(w: Wired, tenant: Tenant, key: Key, query: Annotated[Page, InQuery()]) -> JSONResponse:
    """List the jobs of a submission, in the order in which they were asked for."""
    return JSONResponse(submissions.jobs(w, tenant, key, limit=query.limit, after=query.after))


@router.get("/{key:path}", responses=shape(Submission))
def show_submission(w: Wired, tenant: Tenant, key: Key) -> JSONResponse:
    """Show how many jobs a submission made, and how many stand in each state."""
    return JSONResponse(submissions.show(w, tenant, key))
