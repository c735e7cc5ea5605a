"""The API's process: uvicorn around the application, ended cleanly by SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import uvicorn
from fastapi import FastAPI

from genplatform.api.app import create_app
from genplatform.api.middleware import loopback_names
from genplatform.errors import LocalPlatformError
from genplatform.services.context import Wiring

logger = logging.getLogger(__name__)

# Waiting workers hold a connection each; past this, uvicorn answers 503 by itself.
MOST_CONNECTIONS = 4096
BACKLOG = 2048
KEEP_ALIVE_SECONDS = 15
GRACE_SECONDS = 10
LOOK_SECONDS = 1.0


def serve(w: Wiring, host: str, port: int) -> None:
    """Serve the API on `host`:`port` until SIGTERM or SIGINT, then end what is under way and return.

    Bound to loopback, it answers only to the names of loopback. Raises `LocalPlatformError`
    when the address cannot be bound.
    """
    app = create_app(w, hosts=loopback_names(host))
    with _bind(host, port) as listener:
        _Server(app).run(sockets=[listener])
    logger.info("api_stopped")


class _Server(uvicorn.Server):
    """A server that tells the long polls of its end, and exits with 0 when it is asked to stop."""

    def __init__(self, app: FastAPI) -> None:
        config = uvicorn.Config(
            app,
            access_log=False,
            log_config=None,
            log_level="warning",
            server_header=False,
            proxy_headers=False,
            ws="none",
            lifespan="on",
            backlog=BACKLOG,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        super().__init__(config)
        self._closing = app.state.closing
        self._ask: Callable[[], object] = lambda: None  # who waits in the loop is told to look

    async def main_loop(self) -> None:
        """Look after what has a time once a second, and end at once; uvicorn's own looks ten times a second."""
        loop, asked = asyncio.get_running_loop(), asyncio.Event()
        self._ask = lambda: loop.call_soon_threadsafe(asked.set)
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                await asyncio.wait_for(asked.wait(), LOOK_SECONDS)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and say so once it is true."""
        await super().startup(sockets)
        if not self.should_exit:
            for listener in sockets or ():
                host, port = listener.getsockname()[:2]
                logger.info("api_started", extra={"host": host, "port": port})

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop; a second signal stops at once.

        Not uvicorn's own, which sends itself the signal again at the end and so dies of it.
        """
        self._closing.set()
        self.force_exit = self.should_exit
        self.should_exit = True
        self._ask()


def _bind(host: str, port: int) -> socket.socket:
    bare = host.strip("[]")
    family = socket.AF_INET6 if ":" in bare else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((bare, port))
    except OSError as error:
        listener.close()
        raise LocalPlatformError(
            f"The API cannot listen on {host} port {port}: {error.strerror or error}.",
            "Stop what uses that port, or choose another.",
        ) from error
    return listener
