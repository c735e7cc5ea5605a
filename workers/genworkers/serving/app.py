"""An endpoint's replicas: POST <route>/generate draws pictures from the model they hold.

Replicas know one secret, the gateway's; keys, limits and OpenAI's shapes are the gateway's
business. Drawing and encoding run on a thread of their own, because an async handler that
computes blocks every other request of its replica.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from ray import serve
from ray.serve.config import AutoscalingConfig
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from genplatform.errors import BadRequest
from genworkers.images import Payload
from genworkers.recipes.base import File
from genworkers.serving.loopback import keep_to_loopback
from genworkers.version import code_version

MOST_SEEDS = 64
LONGEST_BODY = 64 * 1024
REQUESTS_AT_ONCE = 64  # of one replica; together they share forward passes
BATCH_REQUESTS = 16
BATCH_WAIT_SECONDS = 0.002


class Refused(Exception):
    """A request that cannot be answered as it is; its text is the answer."""


@dataclass(frozen=True)
class Ask:
    """A request that was understood."""

    seeds: tuple[int, ...]
    cond: Mapping[str, Any] | None
    form: str = "png"


def parse_ask(body: bytes, *, takes_cond: bool, formats: Sequence[str]) -> Ask:
    """Read a request's body; raises Refused with what is wrong."""
    if len(body) > LONGEST_BODY:
        raise Refused(f"The body has {len(body)} bytes; at most {LONGEST_BODY} are taken.")
    try:
        told = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(f"The body is not JSON: {error}.") from error
    if not isinstance(told, dict):
        raise Refused("The body must be a JSON object.")
    seeds = told.get("seeds")
    if not isinstance(seeds, list) or not 1 <= len(seeds) <= MOST_SEEDS:
        raise Refused(f"`seeds` must be a list of 1 to {MOST_SEEDS} whole numbers.")
    if not all(isinstance(s, int) and not isinstance(s, bool) and 0 <= s < 2**63 for s in seeds):
        raise Refused("Each of `seeds` must be a whole number from 0 to 2**63 - 1.")
    cond = told.get("cond")
    if cond is not None and not (takes_cond and isinstance(cond, dict)):
        raise Refused("This model takes no `cond`." if not takes_cond else "`cond` must be an object or null.")
    form = told.get("format", formats[0])
    if form not in formats:
        raise Refused(f"`format` must be one of: {', '.join(formats)}.")
    return Ask(tuple(seeds), cond, form)


class Replica:
    """One copy of the model; each request has its forward passes to itself."""

    def __init__(self, order: Mapping[str, Any]) -> None:
        import torch

        from genplatform.store import Store
        from genworkers import models
        from genworkers.recipes.given import pictures_in
        from genworkers.scratch import scratch, sweep

        self._order = order
        self._thread = ThreadPoolExecutor(
            max_workers=1,
            thread_name_prefix="draw",
            initializer=torch.set_num_threads,
            initargs=(int(order["threads"]),),
        )
        sweep()
        with scratch("serve") as place:
            self._model = models.load(Store(order["store_url"]), order["model"], place)
        schema = self._model.sampler.recipe.conditions
        self._takes_cond = schema is not None
        self._takes_pictures = schema is not None and any(pictures_in(schema))

    def check_health(self) -> None:
        """Be healthy: a replica that could not load its model never came to be."""

    async def __call__(self, request: Request) -> Response:
        """Answer one request under the endpoint's route."""
        path = request.url.path.removeprefix(self._order["route"].rstrip("/"))
        if path == "/healthz" and request.method == "GET":
            return PlainTextResponse("ok")
        if not self._is_known(request):
            return _problem(401, "The endpoint's secret is missing or wrong.")
        if path != "/generate":
            return _problem(404, f"There is nothing at {path or '/'}: POST {self._order['route']}/generate.")
        if request.method != "POST":
            return _problem(405, f"{request.method} is not answered here: POST.")
        try:
            ask = parse_ask(
                await _bounded_body(request),
                takes_cond=self._takes_cond,
                formats=self._model.sampler.recipe.formats,
            )
            # Here, where it is this request that is refused and not those that it shares a pass with.
            await self._checked(ask)
        except (Refused, BadRequest) as refusal:
            return _problem(400, str(refusal))
        files = await self.draw(ask)
        images = [base64.b64encode(file.data).decode() for file in files]
        told = [dict(file.told) for file in files]
        return JSONResponse({"images": images, "mime": files[0].mime, "model": self._model.name, "told": told})

    async def _checked(self, ask: Ask) -> None:
        """Raise BadRequest for a condition that cannot be met; a picture in it is decoded where pictures are drawn."""
        check = partial(self._model.sampler.condition, ask.cond)
        if self._takes_pictures and ask.cond:
            await asyncio.get_running_loop().run_in_executor(self._thread, check)
        else:
            check()

    async def draw(self, ask: Ask) -> list[File]:
        """Return a request's items as files."""
        (files,) = await self.draw_all([ask])
        return files

    async def draw_all(self, asks: list[Ask]) -> list[list[File]]:
        """Draw for several requests in shared tiles; each answer is what it would be alone."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._draw, asks)

    def _draw(self, asks: list[Ask]) -> list[list[File]]:
        seeds = [seed for ask in asks for seed in ask.seeds]
        drawn = iter(self._model.sampler.told(seeds, [ask.cond for ask in asks for _ in ask.seeds]))
        return [[self._encoded(seed, *next(drawn), ask) for seed in ask.seeds] for ask in asks]

    def _encoded(self, seed: int, payload: Payload, told: Mapping[str, Any], ask: Ask) -> File:
        condition = self._model.sampler.condition(ask.cond)
        code = self._model.card.get("code")
        wished = {} if condition is None else {"cond": condition.model_dump(mode="json", by_alias=True)}
        origin = {
            "endpoint": self._order["endpoint"],
            "seed": seed,
            **wished,
            "model": self._model.name,
            "model_digest": self._model.digest,
            "data_digest": self._model.card.get("data_digest"),
            "recipe": self._model.recipe,
            **({"code": code["sha256"]} if code else {}),
            "code_version": code_version(),
        }
        return self._model.sampler.recipe.encode(payload, ask.form, origin)._replace(told=told)

    def _is_known(self, request: Request) -> bool:
        scheme, _, word = request.headers.get("authorization", "").partition(" ")
        secret = str(self._order["secret"])
        return scheme.lower() == "bearer" and hmac.compare_digest(word.strip().encode(), secret.encode())


class BatchingReplica(Replica):
    """A replica under Ray Serve: requests that come together share forward passes."""

    def __init__(self, order: Mapping[str, Any]) -> None:
        # Serve binds its server after this; see there.
        keep_to_loopback()
        super().__init__(order)

    @serve.batch(max_batch_size=BATCH_REQUESTS, batch_wait_timeout_s=BATCH_WAIT_SECONDS)  # type: ignore[untyped-decorator]
    async def draw(self, asks: list[Ask]) -> list[list[File]]:
        """Draw what has gathered; Serve gives each request its own answer."""
        return await self.draw_all(asks)


async def _bounded_body(request: Request) -> bytes:
    """Read the body, but never much more than is taken."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST_BODY:
            raise Refused(f"The body is larger than {LONGEST_BODY} bytes.")
    return bytes(body)


def _problem(status: int, detail: str) -> JSONResponse:
    return JSONResponse({"status": status, "detail": detail}, status_code=status)


def build(order: Mapping[str, Any], min_replicas: int, max_replicas: int) -> serve.Application:
    """Return the application of one endpoint: a fixed number of replicas, or a range that follows the load."""
    if min_replicas == max_replicas:
        scale: dict[str, Any] = {"num_replicas": min_replicas}
    else:
        scale = {"autoscaling_config": AutoscalingConfig(min_replicas=min_replicas, max_replicas=max_replicas)}
    deployment = serve.deployment(BatchingReplica).options(
        name="replica",
        max_ongoing_requests=REQUESTS_AT_ONCE,
        ray_actor_options={"num_cpus": float(order["cpus"])},
        **scale,
    )
    return deployment.bind(dict(order))
