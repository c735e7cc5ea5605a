"""Status: the platform's parts as the API sees them."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import JSONResponse

from genplatform.api.deps import Tenant, Wired
from genplatform.api.shapes import Status, shape
from genplatform.services import health

router = APIRouter(prefix="/status", tags=["status"])


@router.get("", responses=shape(Status))
def show_status(w: Wired, tenant: Tenant) -> JSONResponse:
    """Show what is up, what is not, and what to do."""
    return JSONResponse(health.status(w))
