"""What every request passes before a router sees it, outermost first.

`Envelope` gives it an id and turns whatever is raised into an answer; `Hosts` refuses names
this server does not go by; `Door` checks the bearer token, before a byte of the body is
read, and by the path alone, so that a new router cannot forget it; `uploads.Bodies` reads the
body up to its cap. Plain ASGI: Starlette's own helper would cost a task a request and hide the
client's disconnect.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
from collections.abc import Collection

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from genplatform.api.problems import render, unexpected
from genplatform.domain.ids import RandBelow, new_id
from genplatform.domain.job import DEFAULT_TENANT
from genplatform.domain.tokens import Grant
from genplatform.errors import BadRequest, GenctlError, Unauthorized
from genplatform.services.identity import NodeSecret

logger = logging.getLogger(__name__)

API_PREFIX = "/api/v1"
INTERNAL_PREFIX = "/internal/v1"
OPEN_PATHS = frozenset({"/livez", "/readyz"})

# Nothing served here is a page: no sniffing, framing, caching or scripts.
_SECURITY_HEADERS = (
    ("x-content-type-options", "nosniff"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("cache-control", "no-store"),
    ("referrer-policy", "no-referrer"),
)


class ClientGone(Exception):
    """The client closed its connection; nobody is left to answer."""


class Envelope:
    """Give each request an id (`x-request-id`, and `state.request_id`) and each error an answer."""

    def __init__(self, app: ASGIApp, randbelow: RandBelow) -> None:
        self.app = app
        self._randbelow = randbelow

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = new_id("req", self._randbelow)
        scope.setdefault("state", {})["request_id"] = request_id
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                for name, value in _SECURITY_HEADERS:
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        except ClientGone:
            return
        except GenctlError as error:
            if started:
                raise
            await render(error, scope["path"])(scope, receive, send_with_headers)
        except Exception:
            logger.exception(
                "request_failed",
                extra={"request_id": request_id, "method": scope["method"], "path": scope["path"]},
            )
            if started:
                raise
            await render(unexpected(request_id), scope["path"])(scope, receive, send_with_headers)


class Hosts:
    """Refuse requests for host names this server does not go by.

    A page in a user's browser can make a name of its own resolve to 127.0.0.1 (DNS
    rebinding); the Host header then still carries that name.
    """

    def __init__(self, app: ASGIApp, allowed: Collection[str]) -> None:
        self.app = app
        self._allowed = frozenset(allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            given = Headers(scope=scope).get("host", "")
            if _host_name(given) not in self._allowed:
                raise BadRequest(
                    f"This server does not go by the host name {given[:100]!r}.",
                    f"Use one of: {', '.join(sorted(self._allowed))}.",
                )
        await self.app(scope, receive, send)


class Door:
    """Check the bearer token: the platform's for /api/v1 and /v1, a run's or pool's for /internal/v1.

    Leaves `state.tenant` or `state.grant` behind. Every path but the health checks is closed.
    """

    def __init__(self, app: ASGIApp, secret: str, nodes: NodeSecret) -> None:
        self.app = app
        self._secret = secret
        self._nodes = nodes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            token = _bearer(Headers(scope=scope).get("authorization", ""))
            state = scope.setdefault("state", {})
            if under(scope["path"], INTERNAL_PREFIX):
                state["grant"] = await self._grant(token)
            else:
                state["tenant"] = self._tenant(token)
        await self.app(scope, receive, send)

    def _tenant(self, token: str) -> str:
        """Return whose token this is. One platform token, one tenant; keys of tenants come here."""
        known = self._secret and hmac.compare_digest(token.encode(), self._secret.encode())
        if not known:
            raise Unauthorized(
                "No valid token came with the request." if token else "The request has no bearer token.",
                "Send `Authorization: Bearer TOKEN`; the local platform's is in $GENCTL_HOME/token.",
            )
        return DEFAULT_TENANT

    async def _grant(self, token: str) -> Grant:
        grant = self._nodes.known(token) or await run_in_threadpool(self._nodes.grant, token)
        if grant is None:
            raise Unauthorized(
                "No valid run or pool token came with the request.",
                "The platform gives each run and pool its own token when it starts them.",
            )
        return grant


def loopback_names(host: str) -> frozenset[str] | None:
    """Return the names a server bound to `host` goes by; None (any) when that is no loopback address."""
    bare = host.strip("[]")
    try:
        loopback = ipaddress.ip_address(bare).is_loopback
    except ValueError:
        loopback = bare == "localhost"
    return frozenset({"127.0.0.1", "localhost", "::1", bare}) if loopback else None


def under(path: str, prefix: str) -> bool:
    """Tell whether a path is `prefix` or below it."""
    return path == prefix or path.startswith(f"{prefix}/")


def _bearer(header: str) -> str:
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _host_name(header: str) -> str:
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0].lower()
