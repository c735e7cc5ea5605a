"""`POST /v1/images/generations`: the pictures of an endpoint's model, as OpenAI answers."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from genplatform.api.deps import Tenant, Wired
from genplatform.api.openai.asked import ImagesAsked, condition, read_images, seeds_of
from genplatform.api.openai.errors import model_not_found, refused
from genplatform.api.openai.replicas import Made, Place, Replicas, while_connected
from genplatform.api.openai.routing import Routing
from genplatform.domain.ids import RandBelow
from genplatform.errors import GenctlError, NotFound, Unavailable
from genplatform.services.endpoints import Route
from genplatform.spec import RecipeBook

router = APIRouter(prefix="/images")

IMAGE = "image"
_MADE = {IMAGE: "pictures", "text": "texts"}
# Seeds that JavaScript and jq can carry: what was drawn is meant to be sent again.
DRAWN_SEEDS = 2**53
NOT_READY_RETRY_SECONDS = 2
_PNG_HEAD = 24


class Gateway:
    """What the image routes share: where endpoints are, how to reach them, what recipes take, and chance."""

    def __init__(self, routing: Routing, replicas: Replicas, recipes: RecipeBook, randbelow: RandBelow) -> None:
        self._routing = routing
        self._replicas = replicas
        self._recipes = recipes
        self._randbelow = randbelow

    async def images(self, tenant: str, asked: ImagesAsked) -> dict[str, Any]:
        """Return the pictures asked for, but for `created`."""
        route = await self.find(tenant, asked.model, IMAGE)
        cond = self._condition(asked, route)
        _check_size(asked, route.model, own_size(route.config))
        seed = self.seed(asked.seed)
        seeds = seeds_of(seed, asked.n)
        made = await self.generate(route, asked.model, seeds, cond, "png")
        size = png_size(made.images[0])
        # Once more: not every recipe's config tells the size.
        _check_size(asked, made.model, size)
        data = [
            {"b64_json": image, "url": None, "revised_prompt": None, "seed": one}
            for image, one in zip(made.images, seeds, strict=True)
        ]
        return {
            "data": data,
            "output_format": "png",
            "size": size,
            "model": made.model,
            "seed": seed,
        }

    async def find(self, tenant: str, model: str, modality: str) -> Route:
        """Return where a model is served; refuses one that makes something else."""
        route = await run_in_threadpool(self._find, tenant, model)
        if route.modality != modality:
            raise refused("model", f"{route.name} makes {route.modality}, not {_MADE[modality]}.")
        return route

    def seed(self, asked: int | None) -> int:
        """Return the seed that is asked for, or one by chance."""
        return self._randbelow(DRAWN_SEEDS) if asked is None else asked

    async def generate(
        self, route: Route, model: str, seeds: Sequence[int], cond: dict[str, Any] | None, form: str
    ) -> Made:
        """Have an item made for each seed, by the version that was asked for."""
        made = await self._replicas.generate(_place(route), seeds, cond, form)
        _check_version(model, route, made)
        return made

    def _condition(self, asked: ImagesAsked, route: Route) -> dict[str, Any] | None:
        if not asked.prompt.strip():
            return None
        return condition(asked.prompt, route.cond or self._recipes.conditions(route.recipe)[0])

    def _find(self, tenant: str, model: str) -> Route:
        try:
            return self._routing.find(tenant, model)
        except NotFound as error:
            raise model_not_found(model) from error


@router.post("/generations")
async def generate_images(w: Wired, tenant: Tenant, request: Request) -> JSONResponse:
    """Make `n` pictures. The same seed with the same model version gives the same pictures."""
    gateway: Gateway = request.app.state.gateway
    asked = read_images(await request.body())
    answer = await while_connected(request, gateway.images(tenant, asked))
    return JSONResponse({"created": int(w.clock())} | answer)


def png_size(image: str) -> str:
    """Return `WIDTHxHEIGHT` of a base64 PNG; raises `GenctlError` when it is none."""
    try:
        head = base64.b64decode(image[: _PNG_HEAD // 3 * 4], validate=True)
    except ValueError:
        head = b""
    if len(head) < _PNG_HEAD or head[:8] != b"\x89PNG\r\n\x1a\n" or head[12:16] != b"IHDR":
        raise GenctlError("A replica answered with something that is not a PNG.", "The endpoint's log says more.")
    width, height = struct.unpack(">II", head[16:24])
    return f"{width}x{height}"


def own_size(config: Mapping[str, Any]) -> str | None:
    """Return `WIDTHxHEIGHT` as a model's config tells it, if it does."""
    width, height = config.get("width"), config.get("height")
    return f"{width}x{height}" if isinstance(width, int) and isinstance(height, int) else None


def _check_size(asked: ImagesAsked, model: str, own: str | None) -> None:
    if asked.size is not None and own is not None and asked.size != own:
        raise refused("size", f"{model} makes pictures of {own}, not {asked.size}.", f'Send "auto" or "{own}".')


def _place(route: Route) -> Place:
    """Return where to send the request; raises `Unavailable` while the endpoint is not ready."""
    if not route.ready or route.url is None:
        why = f": {route.reason}" if route.reason else ""
        raise Unavailable(
            f"The endpoint {route.name} is {route.state}, not ready{why}.",
            f"Try again in a moment; `genctl endpoints show {route.name}` says how far it is.",
            retry_after=NOT_READY_RETRY_SECONDS,
        )
    return Place(route.name, route.url.rstrip("/"), route.secret)


def _check_version(model: str, route: Route, made: Made) -> None:
    """Refuse another version's items to who named a version: replicas are replaced one by one."""
    if model == route.model and made.model != model:
        raise Unavailable(f"{route.name} still serves {made.model} and not yet {model}.", "Try again in a moment.")
