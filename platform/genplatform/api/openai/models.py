"""`GET /v1/models`: the endpoints, as OpenAI's clients list models."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from genplatform.api.deps import Tenant
from genplatform.api.openai.errors import model_not_found
from genplatform.api.openai.routing import Routing
from genplatform.errors import NotFound
from genplatform.services.endpoints import Route

router = APIRouter(prefix="/models")


@router.get("")
def list_models(tenant: Tenant, request: Request) -> JSONResponse:
    """List what is served."""
    routing: Routing = request.app.state.routing
    data = [_model(route) for route in routing.served(tenant)]
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return JSONResponse({"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": False})


@router.get("/{model:path}")
def show_model(tenant: Tenant, request: Request, model: str) -> JSONResponse:
    """Show one model that is served, by its endpoint's name or as NAME@V."""
    routing: Routing = request.app.state.routing
    try:
        route = routing.find(tenant, model)
    except NotFound as error:
        raise model_not_found(model) from error
    return JSONResponse(_model(route) | {"id": model})


def _model(route: Route) -> dict[str, Any]:
    return {
        "id": route.name,
        "object": "model",
        "created": int(route.created_at),
        "owned_by": "genctl",
        "version": route.model,
        "modality": route.modality,
        "ready": route.ready,
    }
