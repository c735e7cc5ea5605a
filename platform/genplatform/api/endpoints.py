"""Endpoints: the wish that a model version be served."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

from genplatform.api.deps import LONGEST_REF, Ref, Tenant, Wired
from genplatform.api.shapes import Endpoint, Endpoints, shape
from genplatform.services import endpoints

router = APIRouter(prefix="/endpoints", tags=["endpoints"])

MOST_REPLICAS = 1000


class NewEndpoint(BaseModel):
    """What to serve, under which name, and between how many replicas."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=LONGEST_REF)
    model: str = Field(max_length=LONGEST_REF)
    min_replicas: int = Field(1, ge=1, le=MOST_REPLICAS)
    max_replicas: int | None = Field(None, ge=1, le=MOST_REPLICAS, description="Default: as many as min_replicas.")


@router.post("", status_code=201, responses=shape(Endpoint, 201))
def create_endpoint(w: Wired, tenant: Tenant, wish: NewEndpoint) -> JSONResponse:
    """Create an endpoint, or update the one of that name; the same wish again changes nothing."""
    most = wish.min_replicas if wish.max_replicas is None else wish.max_replicas
    return JSONResponse(
        endpoints.create(w, tenant, wish.name, wish.model, wish.min_replicas, most),
        status_code=201,
    )


@router.get("", responses=shape(Endpoints))
def list_endpoints(w: Wired, tenant: Tenant) -> JSONResponse:
    """List endpoints."""
    return JSONResponse(endpoints.ls(w, tenant))


@router.get("/{ref}", responses=shape(Endpoint))
def show_endpoint(w: Wired, tenant: Tenant, ref: Ref) -> JSONResponse:
    """Show an endpoint: the wish, and how far it is."""
    return JSONResponse(endpoints.show(w, tenant, ref))


@router.delete("/{ref}", responses=shape(Endpoint))
def delete_endpoint(w: Wired, tenant: Tenant, ref: Ref) -> JSONResponse:
    """Stop serving an endpoint."""
    return JSONResponse(endpoints.delete(w, tenant, ref))
