"""The content of an output: sent in pieces, whatever its size, with its length told first."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import MutableMapping
from typing import Any

import pytest
from fake_node import CommandNode
from fastapi.testclient import TestClient
from small_platform import API_URL, TENANT

from genplatform.api.app import create_app
from genplatform.domain import layout
from genplatform.domain.keys import JobKey
from genplatform.services import leadership, runs
from genplatform.services.context import Wiring
from genplatform.store import Store

YAML = "application/yaml"


CONTENT = bytes(range(256)) * 8192


@pytest.fixture
def path(api: TestClient, w: Wiring) -> str:
    """Publish a file of two megabytes; return where its bytes are had."""
    answer = api.post("/api/v1/jobs", content="kind: command\ncommand: [a]\n", headers={"Content-Type": YAML})
    job_id = answer.json()["jobs"][0]["id"]
    term = leadership.lead(w, "d1")
    assert term is not None
    opened = runs.open_run(w, term, JobKey(TENANT, job_id), workers=1, api_url=API_URL)
    assert opened is not None
    node = CommandNode(w, opened.order)
    node.start()
    node.publish_files("big.bin")
    w.store.put_bytes(f"{layout.files(opened.key)}/big.bin", CONTENT)
    return f"/api/v1/jobs/{job_id}/outputs/0/content"


def test_a_large_file_is_sent_without_being_read_whole(
    api: TestClient, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "read_bytes", lambda *_: pytest.fail("It was read whole."))

    got = api.get(path)

    assert (got.status_code, got.headers["content-length"]) == (200, str(len(CONTENT)))
    assert got.headers["content-type"] == "application/octet-stream"
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.content == CONTENT


def test_a_file_is_closed_though_its_client_left_before_the_first_byte(
    w: Wiring, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = io.BytesIO(CONTENT)
    monkeypatch.setattr(Store, "open", lambda *_: source)
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"authorization", b"Bearer a-token-of-tests")],
    }
    sent: list[str] = []
    body = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> dict[str, Any]:
        for message in body:
            return message
        await asyncio.Event().wait()
        raise AssertionError("never")

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message["type"])
        raise BrokenPipeError

    with contextlib.suppress(Exception):
        asyncio.run(create_app(w)(scope, receive, send))

    assert sent == ["http.response.start"]
    assert source.closed


def test_a_file_that_the_store_cannot_measure_is_unavailable(
    api: TestClient, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(io.BytesIO):
        def seek(self, *_: int) -> int:
            raise ConnectionResetError("a secret of the inside")

    source = Broken(CONTENT)
    monkeypatch.setattr(Store, "open", lambda *_: source)

    got = api.get(path)

    assert got.status_code == 503
    assert "ConnectionResetError" in got.json()["detail"]
    assert source.closed
