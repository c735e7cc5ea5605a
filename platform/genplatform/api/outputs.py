"""Outputs: what a generate job made, item by item."""

from __future__ import annotations

from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Path
from fastapi import Query as InQuery
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from genplatform.api.deps import Page, Ref, Tenant, Wired
from genplatform.api.shapes import Item, Outputs, shape
from genplatform.services import outputs

router = APIRouter(prefix="/jobs/{ref}/outputs", tags=["outputs"])

BLOCK = 1 << 18
Index = Annotated[int, Path(ge=0, le=2**53)]
# A manifest is written on a node: what it calls the type is not told to a browser unless it is one of these.
_INERT_TYPES = frozenset({"image/png", "image/jpeg", "image/webp", "audio/wav", "text/plain"})


@router.get("", responses=shape(Outputs))
def list_outputs(w: Wired, tenant: Tenant, ref: Ref, query: Annotated[Page, InQuery()]) -> JSONResponse:
    """List items in the order of their index."""
    return JSONResponse(outputs.ls(w, tenant, ref, limit=query.limit, after=query.after))


@router.get("/{index}", responses=shape(Item))
def show_output(w: Wired, tenant: Tenant, ref: Ref, index: Index) -> JSONResponse:
    """Show one item."""
    return JSONResponse(outputs.show(w, tenant, ref, index))


@router.get("/{index}/content", responses={200: {"content": {"image/png": {}}, "description": "The bytes."}})
def output_content(w: Wired, tenant: Tenant, ref: Ref, index: Index) -> Response:
    """Return the bytes of an item's first file."""
    source, mime, size = outputs.content(w, tenant, ref, index)
    # Its length is told first: a file that breaks off in between is seen to be cut.
    media_type = mime if mime in _INERT_TYPES else "application/octet-stream"
    return Content(source, media_type=media_type, headers={"content-length": str(size)})


class Content(StreamingResponse):
    """The bytes of an open file, closed whenever its client leaves."""

    def __init__(self, source: BinaryIO, **more: Any) -> None:
        self._source = source
        super().__init__(iter(lambda: source.read(BLOCK), b""), **more)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and close the file whatever becomes of that."""
        with self._source:
            await super().__call__(scope, receive, send)
