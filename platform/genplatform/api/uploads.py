"""Request bodies: read whole before the router sees the request, up to the cap of what they are.

Job files in JSON may be large. Of these only a few are held at a time; whoever comes with
another waits, unread, until one of them is answered.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from genplatform.api.middleware import API_PREFIX, INTERNAL_PREFIX, ClientGone, under
from genplatform.errors import BadRequest, TooLarge
from genplatform.spec import JSON_LINES, MAX_BYTES, MOST_BYTES

KIB = 1024
MIB = 1024 * KIB
BODY_SECONDS = 60.0
# A body that is slower than this is not waited for.
SLOWEST_BYTES_A_SECOND = 256 * KIB
# From here on a body is large, and so many of them are held at a time.
LARGE = MIB
LARGE_AT_ONCE = 2

JSON = "application/json"
YAML = "application/yaml"
LINES = JSON_LINES[0]
# Types that say nothing of a job file; a client that sends one has not chosen.
_NOT_TEXT = ("multipart/", "image/", "audio/", "video/")


class Bodies:
    """Read the body before the router sees the request, up to its cap.

    A declared length past the cap is refused before anything is read, an undeclared one as
    soon as it is passed.
    """

    def __init__(self, app: ASGIApp, seconds: float = BODY_SECONDS) -> None:
        self.app = app
        self._seconds = seconds
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["method"] == "PUT" and under(scope["path"], f"{API_PREFIX}/uploads"):
            await self.app(scope, receive, send)  # it may have any length, and is read by its router
            return
        headers = Headers(scope=scope)
        cap = body_cap(scope["path"], headers.get("content-type", ""))
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > cap:
            raise _too_large(cap)
        async with AsyncExitStack() as held:
            body = await self._read(receive, cap, held)
            delivered = False

            async def replay() -> Message:
                nonlocal delivered
                if delivered:
                    return await receive()
                delivered = True
                return {"type": "http.request", "body": body, "more_body": False}

            await self.app(scope, replay, send)

    async def _read(self, receive: Receive, cap: int, held: AsyncExitStack) -> bytes:
        parts: list[bytes] = []
        size = 0
        begun = asyncio.get_running_loop().time()
        while True:
            try:
                async with asyncio.timeout_at(begun + self._seconds + size / SLOWEST_BYTES_A_SECOND):
                    message = await receive()
            except TimeoutError as error:
                raise BadRequest(
                    f"The request's body did not arrive within {self._seconds:g} seconds.", "Send it again."
                ) from error
            if message["type"] == "http.disconnect":
                raise ClientGone
            part = message.get("body", b"")
            was, size = size, size + len(part)
            if size > cap:
                raise _too_large(cap)
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)
            if was <= LARGE < size:
                waited = asyncio.get_running_loop().time()
                await held.enter_async_context(self._large)
                begun += asyncio.get_running_loop().time() - waited


def body_cap(path: str, content_type: str) -> int:
    """Return how many bytes a request to `path` may carry."""
    if path == f"{API_PREFIX}/jobs":
        return MAX_BYTES if media_type_of(content_type) == YAML else MOST_BYTES
    if under(path, INTERNAL_PREFIX):
        return 8 * MIB
    return 256 * KIB


def media_type_of(content_type: str) -> str:
    """Return what a job file of that Content-Type is read as: JSON, LINES, or YAML (the default).

    Raises `BadRequest` for a type that cannot be a job file.
    """
    media = content_type.partition(";")[0].strip().lower()
    if media.startswith(_NOT_TEXT):
        raise BadRequest(
            f"A job file cannot be read from {media[:100]}.",
            "Send it as it is: curl --data-binary @job.yaml -H 'Content-Type: application/yaml'.",
        )
    if media in JSON_LINES:
        return LINES
    return JSON if media == JSON or media.endswith("+json") else YAML


def _too_large(cap: int) -> TooLarge:
    shown = f"{cap // MIB} MiB" if cap >= MIB else f"{cap // KIB} KiB"
    return TooLarge(f"The request's body is larger than {shown}.", "Send less at once.")
