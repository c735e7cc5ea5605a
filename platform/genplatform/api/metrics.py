"""GET /metrics: the platform's measures for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from genplatform.api.deps import Wired
from genplatform.observe.metrics import CONTENT_TYPE, exposition
from genplatform.services.measures import measures

router = APIRouter(tags=["metrics"])


@router.get("/metrics", response_class=Response)
def show_metrics(w: Wired) -> Response:
    """Show the platform's measures in Prometheus' text format."""
    return Response(exposition(measures(w)), media_type=CONTENT_TYPE)
