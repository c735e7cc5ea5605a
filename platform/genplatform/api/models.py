"""Models: the versions that the registry holds."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from genplatform.api.deps import Ref, Tenant, Wired
from genplatform.api.shapes import Models, ShownModelVersion, shape
from genplatform.services import models

router = APIRouter(prefix="/models", tags=["models"])


@router.get("", responses=shape(Models))
def list_models(w: Wired, tenant: Tenant) -> JSONResponse:
    """List model versions."""
    return JSONResponse(models.ls(w, tenant))


@router.get("/{ref}", responses=shape(ShownModelVersion))
def show_model(w: Wired, tenant: Tenant, ref: Ref) -> JSONResponse:
    """Show `NAME@V`, `NAME@latest` or the newest of `NAME`, with its card."""
    return JSONResponse(models.show(w, tenant, ref))


@router.get("/{ref}/sheet", responses={200: {"content": {"image/png": {}}, "description": "A grid of samples."}})
def model_sheet(w: Wired, tenant: Tenant, ref: Ref) -> Response:
    """Return the last sheet of samples that the version's training drew."""
    return Response(models.sheet(w, tenant, ref), media_type="image/png")
