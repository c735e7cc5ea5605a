"""The HTTP application: every router, and what stands before them."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import anyio.to_thread
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import Response

from genplatform.api import (
    blobs,
    endpoints,
    health,
    internal,
    jobs,
    metrics,
    models,
    offers,
    outputs,
    recipes,
    schema,
    status,
    submissions,
)
from genplatform.api.middleware import API_PREFIX, INTERNAL_PREFIX, Door, Envelope, Hosts
from genplatform.api.openai import completions, images
from genplatform.api.openai import models as openai_models
from genplatform.api.openai.images import Gateway
from genplatform.api.openai.replicas import Replicas
from genplatform.api.openai.routing import CatalogRouting, Routing
from genplatform.api.problems import OPENAI_PREFIX, of_http, of_validation, render
from genplatform.api.shapes import PROBLEM
from genplatform.api.uploads import Bodies
from genplatform.services.context import Wiring
from genplatform.services.identity import NodeSecret

# Requests are short transactions; more threads than this would only queue at the database.
THREADS = 64


def create_app(
    w: Wiring,
    *,
    hosts: Collection[str] | None = None,
    routing: Routing | None = None,
    replicas: Replicas | None = None,
) -> FastAPI:
    """Return the application over a wired platform.

    `hosts` are the host names it goes by (None: any). `routing` and `replicas` stand in for
    the catalog's routes and the way to the replicas. `app.state.closing` is to be set when
    the server is asked to stop, so that long polls end.
    """
    before = [
        Middleware(Envelope, randbelow=w.randbelow),
        Middleware(Door, secret=w.secret, nodes=NodeSecret(w)),
        Middleware(Bodies),
    ]
    if hosts is not None:
        before.insert(1, Middleware(Hosts, allowed=hosts))
    app = FastAPI(
        title="genctl",
        description="One queue for the whole life of a generative model: train it, generate with it, serve it.",
        version="1",
        openapi_url=f"{API_PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
        middleware=before,
        exception_handlers={RequestValidationError: _on_validation, HTTPException: _on_http},
    )
    app.state.wiring = w
    app.state.closing = threading.Event()
    app.state.offers = offers.Offers(w.queues)
    app.state.routing = routing or CatalogRouting(w)
    app.state.replicas = replicas or Replicas()
    app.state.gateway = Gateway(app.state.routing, app.state.replicas, w.recipes, w.randbelow)
    app.include_router(health.router)
    app.include_router(metrics.router)
    app.include_router(_platform(), prefix=API_PREFIX)
    app.include_router(internal.router, prefix=INTERNAL_PREFIX)
    app.include_router(_openai(), prefix=OPENAI_PREFIX)
    return app


def _platform() -> APIRouter:
    # For the document alone: the door has checked the token long before.
    token = Depends(HTTPBearer(auto_error=False, description="The platform's token."))
    router = APIRouter(dependencies=[token], responses=PROBLEM)
    for noun in (jobs, submissions, blobs, outputs, models, recipes, endpoints, schema, status):
        router.include_router(noun.router)
    return router


def _openai() -> APIRouter:
    # OpenAI's own document describes these better than ours would.
    router = APIRouter(include_in_schema=False)
    router.include_router(openai_models.router)
    router.include_router(images.router)
    router.include_router(completions.router)
    return router


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    app.state.offers.listen()
    yield
    app.state.closing.set()
    app.state.offers.close()
    await app.state.replicas.close()


async def _on_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - how it is registered above
    return render(of_validation(error), request.url.path)


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - how it is registered above
    return render(of_http(error, request.method, request.url.path), request.url.path)
