"""Models: the versions that the registry holds."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import JSONResponse

from genplatform.api.deps import Ref, Tenant, Wired
from genplatform.api.shapes import Models, ModelVersion, shape
from genplatform.services import models

router = APIRouter(prefix="/models", tags=["models"])


@router.get("", responses=shape(Models))
def list_models(w: Wired, tenant: Tenant) -> JSONResponse:
    """List model versions."""
    return JSONResponse(models.ls(w, tenant))


@router.get("/{ref}", responses=shape(ModelVersion))
def show_model(w: Wired, tenant: Tenant, ref: Ref) -> JSONResponse:
    """Show `NAME@V`, `NAME@latest` or the newest of `NAME`, with its card."""
    return JSONResponse(models.show(w, tenant, ref))
