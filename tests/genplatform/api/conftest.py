"""The API over a real catalog in a folder, and a replica that is a real HTTP server."""

from __future__ import annotations

import base64
import io
import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from genplatform.api.app import create_app
from genplatform.api.openai.replicas import Replicas
from genplatform.catalog import Catalog
from genplatform.errors import NotFound
from genplatform.queues.memory import MemoryQueues
from genplatform.services.context import Wiring
from genplatform.services.endpoints import Route
from genplatform.spec import RecipeBook
from genplatform.store import Store

TOKEN = "a-token-of-tests"
NOW = 1_800_000_000.0
REPLICA_WORD = "the-replicas-word"


@pytest.fixture
def w(tmp_path: Path, catalog_url: str) -> Iterator[Wiring]:
    """Yield a wired platform whose time stands still, over an empty catalog, on each database, and store."""
    catalog = Catalog(catalog_url)
    chance = random.Random(7)
    yield Wiring(
        catalog=catalog,
        queues=MemoryQueues(lambda: NOW),
        store=Store((tmp_path / "store").as_uri()),
        recipes=RecipeBook.builtin(),
        secret=TOKEN,
        clock=lambda: NOW,
        randbelow=chance.randrange,
        url="http://127.0.0.1:8000",
    )
    catalog.close()


class Replica:
    """A stand-in replica: a real HTTP server that makes one grey 8x8 picture a seed, unless told otherwise."""

    def __init__(self) -> None:
        self.model = "digits-gan@3"
        self.status = 200
        self.answer: bytes | None = None  # instead of pictures
        self.drop = 0  # so many requests are dropped without an answer
        self.asked: list[dict[str, Any]] = []
        self.hold = threading.Event()  # requests wait for this
        self.hold.set()
        self.arrived = threading.Semaphore(0)
        self.abandoned = threading.Event()  # a waiting request's client went away
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/endpoints/default/digits"

    def close(self) -> None:
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def make(self, asked: dict[str, Any]) -> bytes:
        images = [base64.b64encode(png(seed)).decode() for seed in asked["seeds"]]
        return json.dumps({"images": images, "mime": "image/png", "model": self.model}).encode()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.asked.append({**asked, "path": self.path, "authorization": self.headers["authorization"]})
                outer.arrived.release()
                if outer.drop:
                    outer.drop -= 1
                    self.close_connection = True
                    return
                if not outer.hold.is_set():
                    self._wait()
                content = outer.make(asked) if outer.answer is None else outer.answer
                self.send_response(outer.status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def _wait(self) -> None:
                self.connection.settimeout(0.02)
                while not outer.hold.is_set():
                    try:
                        if not self.connection.recv(1):
                            outer.abandoned.set()
                            return
                    except TimeoutError:
                        continue
                    except OSError:
                        outer.abandoned.set()
                        return

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


def png(seed: int, size: int = 8) -> bytes:
    out = io.BytesIO()
    Image.frombytes("L", (size, size), random.Random(seed).randbytes(size * size)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def replica() -> Iterator[Replica]:
    made = Replica()
    yield made
    made.close()


class Routes:
    """A routing of given routes: what the catalog would say."""

    def __init__(self, *routes: Route) -> None:
        self.routes = list(routes)

    def find(self, tenant: str, model: str) -> Route:
        for route in self.routes:
            if model in (route.name, route.model):
                return route
        raise NotFound(f"The model {model!r} is not served here.")

    def change(self, **values: Any) -> None:
        self.routes = [replace(route, **values) for route in self.routes]


@pytest.fixture
def routes(replica: Replica) -> Routes:
    return Routes(
        Route(
            name="digits",
            url=replica.url,
            secret=REPLICA_WORD,
            model="digits-gan@3",
            tile=64,
            modality="image",
            recipe="noise",
            config={"width": 8, "height": 8, "channels": 1},
            cond=None,
            state="ready",
            reason="",
            ready=True,
        )
    )


Calling = Callable[[FastAPI], TestClient]


@pytest.fixture
def calling() -> Iterator[Calling]:
    """Return clients of applications, with the platform's token, that answer 500 as a client would see it."""
    with ExitStack() as stack:

        def client(app: FastAPI) -> TestClient:
            made = TestClient(
                app,
                base_url="http://127.0.0.1",
                raise_server_exceptions=False,
                headers={"Authorization": f"Bearer {TOKEN}"},
            )
            return stack.enter_context(made)

        yield client


@pytest.fixture
def api(w: Wiring, calling: Calling) -> TestClient:
    """Return a client of the API."""
    return calling(create_app(w))


@pytest.fixture
def gateway(w: Wiring, routes: Routes, calling: Calling) -> TestClient:
    """Return a client of the API whose one endpoint is the stand-in replica; two requests may be in flight."""
    return calling(create_app(w, routing=routes, replicas=Replicas(in_flight=2)))
