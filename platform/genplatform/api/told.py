"""An answer that tells meanwhile how far it is: JSON Lines, of which the last one is the answer.

    {"progress": {"read": 41200, "stored": 40960}}
    {"status": 201, "answer": {...}}

The status line has to be sent before the outcome is known, and says 200; the outcome's own status stands in
the last line, with the answer or the problem document that it would have had.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from typing import Any

from anyio import CancelScope
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from genplatform.api.problems import problem, unexpected
from genplatform.api.uploads import LINES
from genplatform.errors import GenctlError
from genplatform.services.context import Effects
from genplatform.services.submit import Progress

logger = logging.getLogger(__name__)

TELL_SECONDS = 0.5
# What is at work goes on to its end, whoever has hung up meanwhile.
_at_work: set[asyncio.Task[None]] = set()

Line = dict[str, Any]


def is_wanted(accept: str) -> bool:
    """Tell whether a request's Accept header asks for such an answer."""
    return LINES in [one.partition(";")[0].strip().lower() for one in accept.split(",")]


def told(
    act: Callable[[], Line], status: int, progress: Progress, effects: Effects, request_id: str
) -> StreamingResponse:
    """Return the response that carries out `act` in a thread, and its effects once it has been answered."""
    return _Told(act, status, progress, effects, request_id)


class _Told(StreamingResponse):
    """It is not over before `act` is, whoever has hung up: what the request holds meanwhile stays counted."""

    def __init__(
        self, act: Callable[[], Line], status: int, progress: Progress, effects: Effects, request_id: str
    ) -> None:
        self._task: asyncio.Task[None] | None = None
        super().__init__(self._lines(act, status, progress, effects, request_id), media_type=LINES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self._task is not None:
                with CancelScope(shield=True):
                    await asyncio.wait({self._task})

    async def _lines(
        self, act: Callable[[], Line], status: int, progress: Progress, effects: Effects, request_id: str
    ) -> AsyncIterator[bytes]:
        last: asyncio.Future[Line] = asyncio.get_running_loop().create_future()

        async def carry_out() -> None:
            last.set_result(await run_in_threadpool(_outcome, act, status, request_id))
            await run_in_threadpool(effects.run)

        self._task = asyncio.create_task(carry_out())
        _at_work.add(self._task)
        self._task.add_done_callback(_at_work.discard)
        while not last.done():
            yield _line({"progress": asdict(progress)})
            await asyncio.wait({last}, timeout=TELL_SECONDS)
        yield _line(last.result())


def _outcome(act: Callable[[], Line], status: int, request_id: str) -> Line:
    try:
        return {"status": status, "answer": act()}
    except GenctlError as error:
        return {"status": error.status, "answer": problem(error)}
    except Exception:
        logger.exception("request_failed", extra={"request_id": request_id})
        bug = unexpected(request_id)
        return {"status": bug.status, "answer": problem(bug)}


def _line(document: Line) -> bytes:
    # ASCII, because a message may quote what a client sent, lone surrogates included.
    return json.dumps(document, default=str).encode() + b"\n"
