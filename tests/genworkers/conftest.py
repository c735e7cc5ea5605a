"""A platform that answers /internal/v1 on loopback, and what the workers' tests share."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from genplatform.store import Store

TENANT = "default"
TOKEN = "run:default:j_abc:1:signature"

Answer = tuple[int, Mapping[str, Any]]


class FakePlatform:
    """Records every call, in order, and answers what a test told it to."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.tokens: set[str] = set()
        self.answers: dict[str, Callable[[dict[str, Any]], Answer]] = {}
        self._changed = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def bodies(self, path: str) -> list[dict[str, Any]]:
        with self._changed:
            return [body for called, body in self.calls if called == path]

    def wait_for(self, holds: Callable[[], bool], seconds: float = 30) -> None:
        with self._changed:
            assert self._changed.wait_for(holds, timeout=seconds), f"never came true; calls: {self.paths()}"

    def paths(self) -> list[str]:
        return [path for path, _ in self.calls]

    @property
    def logs(self) -> str:
        return "\n".join(line["text"] for body in self.bodies("/progress") for line in body["logs"])

    def refuse(self, path: str) -> None:
        """Answer that path as to a run that is not the current one."""
        problem = {"status": 409, "code": "fenced", "detail": "Run 1 is not the current one."}
        self.answers[path] = lambda _: (409, problem)

    def close(self) -> None:
        if not self._thread.is_alive():
            return
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, path: str, body: dict[str, Any], token: str) -> Answer:
        with self._changed:
            self.calls.append((path, body))
            self.tokens.add(token)
            self._changed.notify_all()
            answer = self.answers.get(path)
        if answer is not None:
            return answer(body)
        defaults = {"/heartbeat": {"stop": []}, "/claim": {"shards": []}, "/publish": {"model": "digits-gan@1"}}
        return 200, defaults.get(path, {})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        platform = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                path = self.path.removeprefix("/internal/v1")
                status, answer = platform._answer(path, body, self.headers.get("Authorization", ""))
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def new_platform() -> Iterator[Callable[[], FakePlatform]]:
    """Start as many platforms as a test needs."""
    platforms: list[FakePlatform] = []

    def start() -> FakePlatform:
        platforms.append(FakePlatform())
        return platforms[-1]

    yield start
    for platform in platforms:
        platform.close()


@pytest.fixture
def platform(new_platform: Callable[[], FakePlatform]) -> FakePlatform:
    return new_platform()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store((tmp_path / "store").as_uri())


SMALL = {"generator_widths": [16], "discriminator_widths": [16], "latent_dim": 8, "batch_size": 16}


@pytest.fixture
def run_order(store: Store) -> Callable[..., dict[str, Any]]:
    """Make a RunActor's order; small enough that a run takes a fraction of a second."""

    def make(url: str, **changes: Any) -> dict[str, Any]:
        return {
            "tenant": TENANT,
            "job_id": "j_abc",
            "run": 1,
            "name": "digits-gan",
            "actor": "run/default/j_abc/1",
            "api_url": url,
            "token": TOKEN,
            "store_url": store.url,
            "recipe": "gan",
            "params": SMALL,
            "data": {"source": "digits"},
            "split": {"train": 0.7, "validation": 0.15, "test": 0.15},
            "budget": {"steps": 60},
            "seed": 0,
            "checkpoint": {"every": 20, "keep": 2},
            "sheet_every": 30,
            "publish": "digits-gan",
            "resume": [],
            "heartbeat_seconds": 0.05,
            "threads": 1,
        } | changes

    return make
