"""`GET /v1/models`: the endpoints, as OpenAI's clients list models."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from genplatform.api.deps import Tenant, Wired
from genplatform.api.openai.errors import model_not_found
from genplatform.api.openai.routing import Routing
from genplatform.domain.states import EndpointState
from genplatform.errors import NotFound
from genplatform.services import endpoints

router = APIRouter(prefix="/models")


@router.get("")
def list_models(w: Wired, tenant: Tenant) -> JSONResponse:
    """List what is served."""
    found = endpoints.ls(w, tenant)["endpoints"]
    data = [_model(one, one["name"]) for one in found if one["state"] != EndpointState.DELETING]
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return JSONResponse({"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": False})


@router.get("/{model:path}")
def show_model(w: Wired, tenant: Tenant, request: Request, model: str) -> JSONResponse:
    """Show one model that is served, by its endpoint's name or as NAME@V."""
    routing: Routing = request.app.state.routing
    try:
        endpoint = endpoints.show(w, tenant, routing.find(tenant, model).name)
    except NotFound as error:
        raise model_not_found(model) from error
    return JSONResponse(_model(endpoint, model))


def _model(endpoint: dict[str, Any], name: str) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": int(datetime.fromisoformat(endpoint["created_at"]).timestamp()),
        "owned_by": "genctl",
        "version": endpoint["model"],
        "state": endpoint["state"],
    }
