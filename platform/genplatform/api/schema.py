"""The JSON Schema of the job file, for editors and for `genctl schema`."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import JSONResponse

from genplatform.api.deps import Wired
from genplatform.spec import job_file_schema

router = APIRouter(prefix="/schema", tags=["schema"])


@router.get("")
def show_schema(w: Wired) -> JSONResponse:
    """Return the schema."""
    return JSONResponse(job_file_schema(w.recipes), media_type="application/schema+json")
