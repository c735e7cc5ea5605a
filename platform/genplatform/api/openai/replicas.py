"""The gateway's way to the replicas: one pooled HTTP client, a bound on what is in flight.

A request whose client went away is cancelled here, which closes the connection to the
replica and frees its slot there.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

import httpx
from starlette.requests import Request

from genplatform.api.middleware import ClientGone
from genplatform.api.openai.errors import refused
from genplatform.errors import GenctlError, TooMany, Unavailable

logger = logging.getLogger(__name__)

T = TypeVar("T")

MOST_IN_FLIGHT = 256
MOST_PER_ENDPOINT = 64
LARGEST_ANSWER = 256 * 1024 * 1024
# A request may stand in a replica's queue for as long as an OpenAI client would wait for it.
TIMEOUTS = httpx.Timeout(connect=3.0, read=300.0, write=30.0, pool=3.0)
LIMITS = httpx.Limits(max_connections=MOST_IN_FLIGHT, max_keepalive_connections=MOST_PER_ENDPOINT, keepalive_expiry=15)
# 401: the replica was started with another secret; 404: Ray Serve knows no such route (yet).
_NOT_SERVING = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)


@dataclass(frozen=True)
class Place:
    """Where an endpoint is served: the base address of its replicas, and the word they know the gateway by."""

    name: str
    url: str
    secret: str


@dataclass(frozen=True)
class Made:
    """What a replica made: base64 files in the order of the seeds, by which version, and what it tells of each."""

    images: list[str]
    mime: str
    model: str
    told: list[dict[str, Any]]


class Replicas:
    """Calls replicas. One per process; close it at the end."""

    def __init__(self, *, in_flight: int = MOST_IN_FLIGHT, per_endpoint: int = MOST_PER_ENDPOINT) -> None:
        # Replicas are ours and near: no proxy of the surroundings stands between.
        self._client = httpx.AsyncClient(timeout=TIMEOUTS, limits=LIMITS, trust_env=False, follow_redirects=False)
        self._counts: Counter[str] = Counter()
        self._in_flight = in_flight
        self._per_endpoint = per_endpoint

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def generate(self, place: Place, seeds: Sequence[int], cond: dict[str, Any] | None, form: str) -> Made:
        """Have one item made for each seed, as a file of that form.

        Raises `TooMany` when too much is in flight, `Unavailable` when no replica answers
        or takes it, and `GenctlError` when the replica fails at it.
        """
        with self._slot(place.name):
            status, content = await self._post(place, {"seeds": list(seeds), "cond": cond, "format": form})
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            raise TooMany(f"All replicas of {place.name} are busy.", "Try again, or give the endpoint more replicas.")
        if status == HTTPStatus.BAD_REQUEST and form == "txt":
            raise refused("prompt", _detail(content), "", "context_length_exceeded")
        if status in _NOT_SERVING:
            raise _no_replica(place, f"status {status}")
        if status != HTTPStatus.OK:
            logger.error("replica_failed", extra={"endpoint": place.name, "status": status, "said": content[:500]})
            raise GenctlError(f"A replica of {place.name} failed at this request.", "The endpoint's log says why.")
        return _read(place, content, len(seeds))

    async def _post(self, place: Place, body: dict[str, Any]) -> tuple[int, bytes]:
        try:
            try:
                return await self._post_once(place, body)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                # A kept connection that the other side closed just now. The same seeds make the
                # same pictures, so asking twice does no harm.
                return await self._post_once(place, body)
        except httpx.PoolTimeout as error:
            raise TooMany("Too many requests are in flight.", "Try again in a moment.") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            logger.warning("replica_unreachable", extra={"endpoint": place.name, "reason": repr(error)})
            raise _no_replica(place, type(error).__name__) from error

    async def _post_once(self, place: Place, body: dict[str, Any]) -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {place.secret}"}
        async with self._client.stream("POST", f"{place.url}/generate", json=body, headers=headers) as response:
            content = bytearray()
            async for part in response.aiter_bytes():
                content += part
                if len(content) > LARGEST_ANSWER:
                    raise GenctlError(
                        f"A replica of {place.name} answered with more than {LARGEST_ANSWER} bytes.", "Ask for less."
                    )
            return response.status_code, bytes(content)

    @contextmanager
    def _slot(self, endpoint: str) -> Iterator[None]:
        if self._counts[endpoint] >= self._per_endpoint or self._counts.total() >= self._in_flight:
            raise TooMany(
                f"{self._counts[endpoint]} requests to {endpoint} are in flight, as many as this gateway holds.",
                "Try again in a moment.",
            )
        self._counts[endpoint] += 1
        try:
            yield
        finally:
            self._counts[endpoint] -= 1
            if not self._counts[endpoint]:
                del self._counts[endpoint]


async def while_connected(request: Request, work: Awaitable[T]) -> T:
    """Return what `work` returns; cancel it and raise `ClientGone` when the client goes away first."""
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone
        return working.result()
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _no_replica(place: Place, why: str) -> Unavailable:
    return Unavailable(
        f"No replica of {place.name} takes requests now ({why}).",
        f"Try again in a moment; `genctl endpoints show {place.name}` says how far it is.",
    )


def _read(place: Place, content: bytes, count: int) -> Made:
    try:
        answer = json.loads(content)
        images, told = [str(image) for image in answer["images"]], [dict(one) for one in answer.get("told") or ()]
        made = Made(images, str(answer["mime"]), str(answer["model"]), told or [dict[str, Any]() for _ in images])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise GenctlError(f"A replica of {place.name} gave an answer that cannot be read.") from error
    if not len(made.images) == len(made.told) == count:
        raise GenctlError(f"A replica of {place.name} made {len(made.images)} items where {count} were asked.")
    return made


def _detail(content: bytes) -> str:
    """Return why a replica refuses a request."""
    try:
        return str(json.loads(content)["detail"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return "The model does not take this prompt with these wishes."
