"""Health: whether the process answers, and whether what it needs can be used. No token: probes have none."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import JSONResponse

from genplatform.api.deps import Wired
from genplatform.services import health

router = APIRouter(tags=["health"])


@router.get("/livez")
async def livez() -> JSONResponse:
    """Answer, which is all that this proves."""
    return JSONResponse({"live": True})


@router.get("/readyz")
def readyz(w: Wired) -> JSONResponse:
    """Answer 200 when the catalog, Redis and the store can be used, else 503 with what cannot."""
    parts = health.ready(w)
    ready = all(part["ok"] for part in parts.values())
    # Without a token nothing of the inside is told: the names of the parts, and whether they answer.
    known = {name: bool(part["ok"]) for name, part in parts.items()}
    return JSONResponse({"ready": ready, "parts": known}, status_code=200 if ready else 503)
