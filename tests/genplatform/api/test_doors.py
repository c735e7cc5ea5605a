"""What every request passes: the token, the host name, the body's cap, and errors that tell nothing of the inside."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from fake_node import node_secret
from fastapi import FastAPI
from fastapi.testclient import TestClient

from genplatform.api.app import create_app
from genplatform.api.middleware import loopback_names
from genplatform.domain.job import DEFAULT_TENANT
from genplatform.domain.tokens import PoolGrant, issue
from genplatform.errors import Unavailable
from genplatform.services.context import Wiring

Calling = Callable[[FastAPI], TestClient]
ANONYMOUS = {"Authorization": ""}


def test_health_needs_no_token(api: TestClient) -> None:
    assert api.get("/livez", headers=ANONYMOUS).json() == {"live": True}

    ready = api.get("/readyz", headers=ANONYMOUS)

    assert ready.status_code == 200
    assert ready.json() == {"ready": True, "parts": {"catalog": True, "redis": True, "store": True}}


def test_what_is_not_usable_makes_the_api_not_ready_but_alive(w: Wiring, calling: Calling) -> None:
    class NoStore:
        def check(self) -> None:
            raise Unavailable("The disk of /secret/place is full.")

    api = calling(create_app(replace(w, store=NoStore())))

    ready = api.get("/readyz", headers=ANONYMOUS)

    assert ready.status_code == 503
    assert ready.json() == {"ready": False, "parts": {"catalog": True, "redis": True, "store": False}}
    assert api.get("/livez").status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/api/v1/jobs", "/api/v1/openapi.json", "/api/v1/nothing", "/internal/v1/started", "/", "/docs", "/livez/x"],
)
def test_without_the_token_every_door_is_closed(api: TestClient, path: str) -> None:
    for header in ("", "Bearer", "Bearer wrong", "Basic a-token-of-tests", "Bearer \xff\xfe"):
        answer = api.get(path, headers={"Authorization": header.encode("latin-1")})

        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["code"] == "unauthorized"


def test_the_platforms_token_opens_no_nodes_door_and_a_nodes_token_none_of_the_platforms(
    w: Wiring, api: TestClient
) -> None:
    pool = issue(node_secret(w), PoolGrant(DEFAULT_TENANT, "p1"))

    assert api.post("/internal/v1/claim", json={}).status_code == 401
    assert api.get("/api/v1/jobs", headers={"Authorization": f"Bearer {pool}"}).status_code == 401
    assert api.get("/v1/models", headers={"Authorization": f"Bearer {pool}"}).status_code == 401


def test_a_platform_without_a_secret_lets_nobody_in(w: Wiring, calling: Calling) -> None:
    api = calling(create_app(replace(w, secret="")))

    assert api.get("/api/v1/jobs", headers={"Authorization": "Bearer "}).status_code == 401
    assert api.get("/api/v1/jobs", headers=ANONYMOUS).status_code == 401


def test_the_wrong_key_has_openais_shape_under_v1(api: TestClient) -> None:
    answer = api.get("/v1/models", headers={"Authorization": "Bearer wrong"})

    assert answer.status_code == 401
    error = answer.json()["error"]
    assert error["code"] == "invalid_api_key"
    assert error["type"] == "invalid_request_error"
    assert error["param"] is None


def test_every_answer_has_an_id_of_its_own_and_is_no_page(api: TestClient) -> None:
    answers = [api.get(p) for p in ("/livez", "/api/v1/jobs", "/nothing", "/v1/models", "/v1/nothing")]

    ids = [a.headers["x-request-id"] for a in answers]
    assert len(set(ids)) == len(ids)
    assert all(i.startswith("req_") for i in ids)
    assert all(a.headers["x-content-type-options"] == "nosniff" for a in answers)
    assert all("access-control-allow-origin" not in a.headers for a in answers)


def test_an_unknown_address_is_a_problem(api: TestClient) -> None:
    answer = api.get("/api/v1/nothing")

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "There is nothing at GET /api/v1/nothing.",
        "code": "not_found",
        "hint": "Check the address and the method.",
    }


def test_the_wrong_method_is_a_problem(api: TestClient) -> None:
    answer = api.put("/api/v1/jobs")

    assert answer.status_code == 405
    assert answer.json()["code"] == "method_not_allowed"


def test_an_unknown_openai_address_has_openais_shape(api: TestClient) -> None:
    answer = api.post("/v1/chat/completions", json={})

    assert answer.status_code == 404
    assert "POST /v1/chat/completions" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/api/v1/jobs?limit=0", "limit"),
        ("/api/v1/jobs?limit=1001", "limit"),
        ("/api/v1/jobs?limit=many", "limit"),
        ("/api/v1/jobs?lmit=5", "lmit"),
        ("/api/v1/jobs?state=asleep", "state[0]"),
        ("/api/v1/jobs?after=" + "9" * 300, "after"),
        ("/api/v1/jobs/j/logs?since=nan", "since"),
        ("/api/v1/jobs/j/outputs/-1", "index"),
        ("/api/v1/jobs/" + "x" * 201, "ref"),
    ],
)
def test_a_bad_parameter_is_refused_by_its_name(api: TestClient, path: str, field: str) -> None:
    answer = api.get(path)

    assert answer.status_code == 400
    problem = answer.json()
    assert problem["code"] == "bad_request"
    assert problem["problems"][0]["path"] == field
    assert problem["detail"].startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", ""),
        (b"[]", ""),
        (b'{"model": "noise@1"}', "name"),
        (b'{"name": "n", "model": "noise@1", "min_replicas": -1}', "min_replicas"),
        (b'{"name": "n", "model": "noise@1", "replicas": 1}', "replicas"),
        (rb'{"name": "\ud800", "model": "noise@1"}', "name"),
        (b"[" * 100_000, ""),
    ],
)
def test_a_bad_body_is_refused_by_its_field(api: TestClient, body: bytes, field: str) -> None:
    answer = api.post("/api/v1/endpoints", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 400
    assert answer.json()["code"] == "bad_request"
    assert answer.json().get("problems", [{"path": ""}])[0]["path"] == field
    assert api.get("/api/v1/endpoints").json() == {"endpoints": []}


@pytest.mark.parametrize(
    ("path", "cap"),
    [("/api/v1/jobs", 1024 * 1024), ("/api/v1/endpoints", 256 * 1024), ("/v1/images/generations", 256 * 1024)],
)
def test_a_body_past_its_cap_is_refused_with_and_without_a_declared_length(
    api: TestClient, path: str, cap: int
) -> None:
    def chunks() -> Iterator[bytes]:
        yield b" " * cap
        yield b" "

    declared = api.post(path, content=b" " * (cap + 1))
    chunked = api.post(path, content=chunks())
    whole = api.post(path, content=b" " * cap)

    assert declared.status_code == chunked.status_code == 413
    assert whole.status_code == 400


def test_a_body_past_its_cap_is_refused_before_it_is_read(w: Wiring) -> None:
    app = create_app(w)
    heard: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        raise AssertionError("the body was read")

    async def send(message: dict[str, object]) -> None:
        heard.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/v1/jobs",
        "raw_path": b"/api/v1/jobs",
        "query_string": b"",
        "headers": [(b"authorization", b"Bearer a-token-of-tests"), (b"content-length", b"104857600")],
    }
    asyncio.run(app(scope, receive, send))

    assert heard[0]["status"] == 413


def test_a_body_without_the_token_is_not_read(w: Wiring) -> None:
    heard: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        raise AssertionError("the body was read")

    async def send(message: dict[str, object]) -> None:
        heard.append(message)

    scope = {"type": "http", "method": "POST", "path": "/api/v1/jobs", "query_string": b"", "headers": []}
    asyncio.run(create_app(w)(scope, receive, send))

    assert heard[0]["status"] == 401


def test_a_bug_tells_nothing_of_the_inside_and_is_logged_with_the_requests_id(
    w: Wiring, calling: Calling, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def read(self) -> None:
            raise ZeroDivisionError("the secret of the inside")

    api = calling(create_app(replace(w, catalog=Broken())))

    with caplog.at_level(logging.ERROR):
        answer = api.get("/api/v1/jobs")

    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text
    assert "ZeroDivisionError" not in answer.text
    assert answer.headers["x-request-id"] in answer.json()["hint"]
    record = next(r for r in caplog.records if r.message == "request_failed")
    assert record.__dict__["request_id"] == answer.headers["x-request-id"]
    assert record.exc_info is not None


def test_what_cannot_be_reached_is_503_and_says_when_to_come_again(w: Wiring, calling: Calling) -> None:
    class Gone:
        def read(self) -> None:
            raise Unavailable("The catalog cannot be reached.", "Start it.")

    api = calling(create_app(replace(w, catalog=Gone())))

    problem, openai = api.get("/api/v1/jobs"), api.get("/v1/models")

    assert problem.status_code == openai.status_code == 503
    assert problem.headers["retry-after"] == openai.headers["retry-after"] == "1"
    assert problem.json()["detail"] == "The catalog cannot be reached."
    assert problem.json()["hint"] == "Start it."
    assert openai.json()["error"]["type"] == "server_error"


def test_loopback_goes_by_its_names(w: Wiring, calling: Calling) -> None:
    api = calling(create_app(w, hosts=loopback_names("127.0.0.1")))

    for host in ("127.0.0.1", "127.0.0.1:8000", "localhost:1", "LOCALHOST", "[::1]", "[::1]:80"):
        assert api.get("/livez", headers={"Host": host}).status_code == 200


def test_loopback_goes_by_no_other_name(w: Wiring, calling: Calling) -> None:
    api = calling(create_app(w, hosts=loopback_names("127.0.0.1")))

    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil:80", "", "[::2]", "10.0.0.1"):
        answer = api.get("/livez", headers={"Host": host})

        assert answer.status_code == 400
        assert "host name" in answer.json()["detail"]


def test_only_loopback_is_bound_to_names() -> None:
    assert loopback_names("0.0.0.0") is None  # noqa: S104 - what is asked about
    assert loopback_names("::") is None
    assert loopback_names("192.0.2.1") is None
    assert loopback_names("::1") is not None
    assert "127.0.0.2" in (loopback_names("127.0.0.2") or ())
    assert loopback_names("localhost") is not None


def test_the_api_describes_itself(api: TestClient) -> None:
    document = api.get("/api/v1/openapi.json").json()

    paths = document["paths"]
    assert {"/api/v1/jobs", "/api/v1/jobs/{ref}/outputs/{index}", "/livez"} <= set(paths)
    assert not [p for p in paths if p.startswith(("/internal", "/v1"))]
    # Ours is 400 and a problem; FastAPI's 422 is never sent.
    assert "422" not in json.dumps([operation["responses"] for p in paths.values() for operation in p.values()])
    assert api.get("/docs").status_code == 404
