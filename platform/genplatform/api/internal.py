"""The nodes' door, /internal/v1: what code on a node may say, with the token of its run or pool.

The shapes of the bodies are the services' (`services.wire`). Checked here, before any of
them: a run's token speaks for that run alone, wherever a body names one.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from genplatform.api.bodies import json_object
from genplatform.api.deps import Granted, Wired
from genplatform.domain.tokens import Grant, PoolGrant, RunGrant
from genplatform.errors import Unauthorized
from genplatform.services import claiming, nodes
from genplatform.services.context import Wiring

router = APIRouter(include_in_schema=False)

LONGEST_WAIT = 20.0
# What is offered is heard at once; this is for what was not heard.
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 0.5

Service = Callable[[Wiring, Grant, Mapping[str, Any]], dict[str, Any]]

# What a node says -> the service that hears it. `claim` waits, and stands below.
SAID: dict[str, Service] = {
    "started": nodes.started,
    "heartbeat": nodes.heartbeat,
    "progress": nodes.progress,
    "artifacts": nodes.artifact,
    "publish": nodes.publish,
    "failed": nodes.failed,
    "released": nodes.released,
}


def _door(path: str, service: Service) -> None:
    async def hear(w: Wired, grant: Granted, request: Request) -> JSONResponse:
        body = await _body(request, grant)
        return JSONResponse(await run_in_threadpool(service, w, grant, body))

    router.add_api_route(f"/{path}", hear, methods=["POST"], name=path)


for _path, _service in SAID.items():
    _door(_path, _service)


@router.post("/claim")
async def claim(w: Wired, grant: Granted, request: Request) -> JSONResponse:
    """Claim shards for a pool's worker: at once when there are some, else within `wait_seconds`, else none.

    Waits in the event loop and not in a thread, so that a thousand waiting workers cost no threads.
    """
    body = await _body(request, grant)
    closing: threading.Event = request.app.state.closing
    loop = asyncio.get_running_loop()
    until = loop.time() + _wait_seconds(body)
    pause = FIRST_PAUSE
    with request.app.state.offers.waiting(grant.pool if isinstance(grant, PoolGrant) else "") as offered:
        while True:
            # Asked before claiming: shards given to nobody would wait for their lease to expire.
            if await request.is_disconnected():
                return JSONResponse({"shards": []})
            offered.clear()
            answer = await run_in_threadpool(claiming.claim, w, grant, body)
            left = until - loop.time()
            if answer["shards"] or left <= 0 or closing.is_set():
                return JSONResponse(answer)
            with suppress(TimeoutError):
                await asyncio.wait_for(offered.wait(), min(pause, left))
            pause = min(pause * 1.5, LONGEST_PAUSE)


async def _body(request: Request, grant: Grant) -> dict[str, Any]:
    body = json_object(await request.body(), not_a_number_is_null=True)
    if isinstance(grant, RunGrant):
        for named in _runs_named(body):
            if (named.get("job_id"), named.get("run")) != (grant.job_id, grant.run):
                raise Unauthorized(
                    f"The token speaks for run {grant.run} of {grant.job_id} and for no other.",
                    "Use the token that the run was started with.",
                )
    return body


def _runs_named(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if "job_id" in body or "run" in body:
        yield body
    for many in ("runs", "claims", "shards"):
        held = body.get(many)
        if isinstance(held, list):
            yield from (one for one in held if isinstance(one, Mapping))


def _wait_seconds(body: Mapping[str, Any]) -> float:
    """Return how long to wait; what is no number waits not at all, and the service refuses it."""
    given = body.get("wait_seconds")
    if isinstance(given, bool) or not isinstance(given, int | float):
        return 0.0
    return float(max(0, min(given, LONGEST_WAIT)))
