"""The official OpenAI SDK against the app on a real server, and what only a real connection shows."""

from __future__ import annotations

import base64
import io
import socket
import threading
from collections.abc import Iterator
from typing import Any

import openai
import pytest
import uvicorn
from openai import OpenAI
from PIL import Image

from genplatform.api.app import create_app
from genplatform.api.middleware import loopback_names
from genplatform.domain.seeds import item_seed
from genplatform.services import endpoints
from genplatform.services.context import Wiring

TOKEN = "a-token-of-tests"


class Started(uvicorn.Server):
    """Tells when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


@pytest.fixture
def origin(w: Wiring, routes: Any) -> Iterator[str]:
    app = create_app(w, hosts=loopback_names("127.0.0.1"), routing=routes)
    listener = socket.create_server(("127.0.0.1", 0))
    server = Started(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=5))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    assert server.up.wait(20)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def sdk(origin: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{origin}/v1", api_key=TOKEN, max_retries=0) as client:
        yield client


def test_it_makes_pictures(sdk: OpenAI) -> None:
    made = sdk.images.generate(model="digits", prompt="", n=2, size="auto", extra_body={"seed": 7})

    assert made.data is not None
    assert made.size == "8x8"
    assert made.output_format == "png"
    assert made._request_id is not None
    assert made._request_id.startswith("req_")
    pictures = [Image.open(io.BytesIO(base64.b64decode(item.b64_json or ""))) for item in made.data]
    assert [p.size for p in pictures] == [(8, 8), (8, 8)]
    assert (made.model_extra or {})["seed"] == 7
    assert (made.data[0].model_extra or {})["seed"] == item_seed(7, 0)


def test_it_lists_models(w: Wiring, sdk: OpenAI) -> None:
    endpoints.create(w, "default", "digits", "noise@1")

    assert [model.id for model in sdk.models.list()] == ["digits"]
    assert sdk.models.retrieve("digits").object == "model"


def test_it_raises_its_own_errors_with_code_and_param(sdk: OpenAI, routes: Any) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        sdk.images.generate(model="nothing", prompt="")
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    assert (missing.value.request_id or "").startswith("req_")

    with pytest.raises(openai.BadRequestError) as refused:
        sdk.images.generate(model="digits", prompt="", response_format="url")
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "response_format")

    with pytest.raises(openai.AuthenticationError) as wrong:
        sdk.with_options(api_key="wrong").models.list()
    assert wrong.value.code == "invalid_api_key"

    routes.change(ready=False, state="pending")
    with pytest.raises(openai.InternalServerError) as early:
        sdk.images.generate(model="digits", prompt="")
    assert early.value.status_code == 503
    assert float(early.value.response.headers["retry-after"]) > 0


def test_it_retries_by_itself_what_says_to_come_again(sdk: OpenAI, replica: Any) -> None:
    replica.drop = 2  # the gateway gives up on the first request, and answers the second

    made = sdk.with_options(max_retries=1).images.generate(model="digits", prompt="")

    assert made.data is not None
    assert len(replica.asked) == 3


def test_a_client_that_goes_away_frees_the_replica(origin: str, replica: Any) -> None:
    replica.hold.clear()
    host, port = origin.removeprefix("http://").split(":")
    body = b'{"model": "digits", "prompt": ""}'
    head = (
        f"POST /v1/images/generations HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )

    with socket.create_connection((host, int(port))) as client:
        client.sendall(head.encode() + body)
        assert replica.arrived.acquire(timeout=20)
        assert not replica.abandoned.is_set()

    gone = replica.abandoned.wait(20)
    replica.hold.set()
    assert gone


def test_a_large_body_is_answered_while_it_is_still_being_sent(origin: str) -> None:
    host, port = origin.removeprefix("http://").split(":")
    head = (
        f"POST /api/v1/jobs HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Length: {100 * 1024 * 1024}\r\n\r\n"
    )

    with socket.create_connection((host, int(port)), timeout=20) as client:
        client.sendall(head.encode() + b" " * 1000)
        answer = client.recv(1000)

    assert answer.startswith(b"HTTP/1.1 413 ")
