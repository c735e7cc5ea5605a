"""Models: the versions that the registry holds, their files, and versions that come from elsewhere."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from genplatform.api.deps import Ref, Tenant, Wired
from genplatform.api.outputs import Content
from genplatform.api.shapes import ModelFiles, Models, ModelVersion, ShownModelVersion, shape
from genplatform.domain.names import NAME_PATTERN
from genplatform.domain.uploads import SHA256_PATTERN
from genplatform.services import imports, models

router = APIRouter(prefix="/models", tags=["models"])


class Import(BaseModel):
    """A model that was exported: a tar of its folder, sent ahead."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=NAME_PATTERN, description="What it is called here.")
    upload: str = Field(pattern=f"^{SHA256_PATTERN}$", description="The SHA-256 of the tar.")


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


@router.post("", responses=shape(ModelVersion))
def import_model(w: Wired, tenant: Tenant, asked: Import) -> JSONResponse:
    """Publish a model that was exported elsewhere, as the first version of a new name. It keeps its digest."""
    return JSONResponse(imports.import_model(w, tenant, name=asked.name, upload=asked.upload))


@router.get("/{ref}/files", responses=shape(ModelFiles))
def list_files(w: Wired, tenant: Tenant, ref: Ref) -> JSONResponse:
    """List the files of one version."""
    return JSONResponse(models.files(w, tenant, ref))


@router.get("/{ref}/files/{path:path}", responses={200: {"content": {"application/octet-stream": {}}}})
def file_content(w: Wired, tenant: Tenant, ref: Ref, path: str) -> Response:
    """Return the bytes of one of a version's files."""
    source, size = models.content(w, tenant, ref, path)
    return Content(source, media_type="application/octet-stream", headers={"content-length": str(size)})
