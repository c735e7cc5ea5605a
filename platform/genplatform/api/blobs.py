"""Uploads by digest: a body of any length, written to disk as it comes, and kept when it is what it says."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path as File
from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

from genplatform.api.deps import Tenant, Wired
from genplatform.api.middleware import ClientGone
from genplatform.api.shapes import Upload, shape
from genplatform.api.uploads import BODY_SECONDS
from genplatform.domain.uploads import SHA256_PATTERN
from genplatform.errors import BadRequest, TooLarge
from genplatform.services import uploads

PIECE = 1 << 20
# What is left to everybody else on the disks where bodies are written and kept.
KEPT_FREE = 1 << 30

router = APIRouter(prefix="/uploads", tags=["uploads"])

Digest = Annotated[str, Path(pattern=f"^{SHA256_PATTERN}$", description="The SHA-256 of the bytes.")]


@router.get("/{digest}", responses=shape(Upload))
def show_upload(w: Wired, tenant: Tenant, digest: Digest) -> JSONResponse:
    """Tell whether these bytes are here already."""
    return JSONResponse(uploads.find(w, tenant, digest))


@router.put("/{digest}", responses=shape(Upload))
async def put_upload(request: Request, w: Wired, tenant: Tenant, digest: Digest) -> JSONResponse:
    """Send bytes ahead of a job that names them, such as its data: `source: upload:DIGEST/NAME`."""
    declared = request.headers.get("content-length", "")
    with tempfile.NamedTemporaryFile(prefix="genctl-upload-") as file:
        there = w.store.disk()
        places = [File(file.name), *([there] if there else [])]
        _refuse_too_large(places, int(declared) if declared.isdecimal() else 0)
        found = hashlib.sha256()
        async for piece in _pieces(request):
            _refuse_too_large(places[:1], len(piece))
            found.update(piece)
            await run_in_threadpool(file.write, piece)
        if found.hexdigest() != digest:
            raise BadRequest(
                f"The bytes that came have the SHA-256 {found.hexdigest()}, and not {digest}.", "Send them again."
            )
        file.flush()
        _refuse_too_large(places[1:], file.tell())
        return JSONResponse(await run_in_threadpool(uploads.keep, w, tenant, digest, File(file.name)))


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    """Yield the body in pieces of a size that is worth a write; one that stands still is not waited for."""
    held, stream = bytearray(), request.stream()
    while True:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                part = await anext(stream, None)
        except TimeoutError as error:
            raise BadRequest(f"Nothing came for {BODY_SECONDS:g} seconds.", "Send it again.") from error
        except ClientDisconnect as error:
            raise ClientGone from error
        if part is not None:
            held += part
        if held and (part is None or len(held) >= PIECE):
            yield bytes(held)
            held.clear()
        if part is None:
            return


def _refuse_too_large(places: Sequence[File], size: int) -> None:
    """Raise TooLarge when so many bytes have no room in each of these places, which may lie on one disk."""
    disks = [os.stat(place).st_dev for place in places]
    for place, disk in zip(places, disks, strict=True):
        more, free = size * disks.count(disk), shutil.disk_usage(place).free - KEPT_FREE
        if more > free:
            raise TooLarge(f"The upload needs {more:,} bytes more, and {max(0, free):,} are free.", "Send less.")
