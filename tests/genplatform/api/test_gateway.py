"""The gateway: OpenAI's image requests, answered by a replica."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from genplatform.api.app import create_app
from genplatform.domain.seeds import item_seed
from genplatform.services import endpoints
from genplatform.services.context import Wiring

Calling = Callable[[FastAPI], TestClient]
GENERATIONS = "/v1/images/generations"


def ask(gateway: TestClient, **fields: Any) -> Any:
    return gateway.post(GENERATIONS, json={"model": "digits", "prompt": "", **fields})


def test_pictures_come_back_as_openai_gives_them(gateway: TestClient, replica: Any) -> None:
    answer = ask(gateway, n=2, seed=7)

    assert answer.status_code == 200
    body = answer.json()
    assert body["created"] == 1_800_000_000
    assert body["output_format"] == "png"
    assert body["size"] == "8x8"
    assert body["seed"] == 7
    assert body["model"] == "digits-gan@3"
    assert [item["seed"] for item in body["data"]] == [item_seed(7, 0), item_seed(7, 1)]
    assert all(item["url"] is None and item["revised_prompt"] is None for item in body["data"])
    picture = Image.open(io.BytesIO(base64.b64decode(body["data"][0]["b64_json"])))
    assert picture.size == (8, 8)


def test_the_replica_gets_the_seeds_and_knows_the_gateway_by_its_word(gateway: TestClient, replica: Any) -> None:
    ask(gateway, n=3, seed=7)

    assert replica.asked == [
        {
            "seeds": [item_seed(7, k) for k in range(3)],
            "cond": None,
            "format": "png",
            "path": "/endpoints/default/digits/generate",
            "authorization": "Bearer the-replicas-word",
        }
    ]


def test_a_prompt_is_the_name_of_a_class_that_the_served_version_knows(
    gateway: TestClient, replica: Any, routes: Any
) -> None:
    names = {"anyOf": [{"enum": ["0", "cat"], "type": "string"}, {"type": "null"}]}
    routes.change(cond={"properties": {"class": names}})

    assert ask(gateway, prompt="cat").status_code == 200
    assert replica.asked[-1]["cond"] == {"class": "cat"}
    assert ask(gateway, prompt="dog").status_code == 400


def test_the_same_seed_gives_the_same_picture(gateway: TestClient) -> None:
    first, second, other = (ask(gateway, seed=s).json()["data"][0]["b64_json"] for s in (7, 7, 8))

    assert first == second != other


def test_without_a_seed_one_is_drawn_told_and_good_for_the_same_pictures(gateway: TestClient) -> None:
    drawn, another = ask(gateway).json(), ask(gateway).json()
    again = ask(gateway, seed=drawn["seed"]).json()

    assert drawn["seed"] != another["seed"]
    assert 0 <= drawn["seed"] < 2**53
    assert again["data"] == drawn["data"]


def test_a_served_version_is_reached_by_its_name_too(gateway: TestClient) -> None:
    assert ask(gateway, model="digits-gan@3").status_code == 200


@pytest.mark.parametrize("model", ["nothing", "digits-gan@2", "../x", "a" * 5000])
def test_what_is_not_served_is_not_found(gateway: TestClient, model: str) -> None:
    answer = ask(gateway, model=model)

    assert answer.status_code == 404
    error = answer.json()["error"]
    assert (error["code"], error["param"], error["type"]) == ("model_not_found", "model", "invalid_request_error")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"size": "16x16"}, "size"),
        ({"response_format": "url"}, "response_format"),
        ({"n": 11}, "n"),
        ({"prompt": "a cat"}, "prompt"),
        ({"stream": True}, "stream"),
    ],
)
def test_what_is_not_offered_is_refused_before_a_replica_works(
    gateway: TestClient, replica: Any, fields: dict[str, Any], param: str
) -> None:
    answer = ask(gateway, **fields)

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert not replica.asked


def test_the_models_own_size_may_be_named(gateway: TestClient) -> None:
    assert ask(gateway, size="8x8").status_code == 200
    assert ask(gateway, size="auto").status_code == 200


def test_a_size_that_no_config_tells_is_checked_on_the_picture(gateway: TestClient, routes: Any) -> None:
    routes.change(config={})

    assert ask(gateway, size="8x8").status_code == 200
    assert ask(gateway, size="9x8").json()["error"]["param"] == "size"


def test_a_model_of_another_modality_makes_no_pictures(gateway: TestClient, routes: Any) -> None:
    routes.change(modality="audio")

    assert ask(gateway).json()["error"]["param"] == "model"


@pytest.mark.parametrize("values", [{"ready": False, "state": "pending"}, {"url": None}])
def test_an_endpoint_that_is_not_ready_is_503_and_says_when_to_come_again(
    gateway: TestClient, routes: Any, replica: Any, values: dict[str, Any]
) -> None:
    routes.change(**values, reason="Its replicas are being started.")

    answer = ask(gateway)

    assert answer.status_code == 503
    assert float(answer.headers["retry-after"]) > 0
    assert "Its replicas are being started." in answer.json()["error"]["message"]
    assert not replica.asked


def test_a_replica_that_cannot_be_reached_is_503(gateway: TestClient, routes: Any) -> None:
    routes.change(url="http://127.0.0.1:1/endpoints/default/digits")

    answer = ask(gateway)

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["error"]["type"] == "server_error"


@pytest.mark.parametrize(
    ("replied", "status"), [(401, 503), (404, 503), (503, 503), (429, 429), (500, 500), (400, 500), (302, 500)]
)
def test_what_a_replica_answers_is_told_in_our_own_words(
    gateway: TestClient, replica: Any, replied: int, status: int
) -> None:
    replica.status, replica.answer = replied, b"Traceback of the inside"

    answer = ask(gateway)

    assert answer.status_code == status
    assert "inside" not in answer.text
    assert ("retry-after" in answer.headers) == (status in {429, 503})


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"{",
        b"[]",
        b'{"images": [], "mime": "image/png", "model": "digits-gan@3"}',
        b'{"images": 7, "mime": "image/png", "model": "digits-gan@3"}',
        b'{"images": ["aGVsbG8="], "mime": "image/png", "model": "digits-gan@3"}',
        b'{"images": ["\xc3\xa4"], "mime": "image/png", "model": "digits-gan@3"}',
        b'{"images": ["aGVsbG8="]}',
    ],
)
def test_an_answer_that_is_no_picture_is_the_servers_error(gateway: TestClient, replica: Any, said: bytes) -> None:
    replica.answer = said

    answer = ask(gateway)

    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "server_error"


def test_a_dropped_connection_is_tried_once_more(gateway: TestClient, replica: Any) -> None:
    replica.drop = 1
    assert ask(gateway, seed=7).status_code == 200

    replica.drop = 2
    assert ask(gateway, seed=7).status_code == 503


def test_a_named_version_is_never_answered_by_another(gateway: TestClient, replica: Any) -> None:
    replica.model = "digits-gan@2"

    assert ask(gateway, model="digits-gan@3").status_code == 503
    assert ask(gateway, model="digits").json()["model"] == "digits-gan@2"


def test_too_many_in_flight_are_refused_and_the_held_ones_are_answered(gateway: TestClient, replica: Any) -> None:
    replica.hold.clear()
    with ThreadPoolExecutor(2) as pool:
        held = [pool.submit(ask, gateway, seed=k) for k in range(2)]
        for _ in held:
            assert replica.arrived.acquire(timeout=10)

        refused = ask(gateway)
        replica.hold.set()
        answers = [f.result(timeout=10) for f in held]

    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert refused.headers["retry-after"] == "1"
    assert [a.status_code for a in answers] == [200, 200]
    assert ask(gateway).status_code == 200


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"model": NaN}', b"[" * 100_000])
def test_a_broken_body_is_refused(gateway: TestClient, body: bytes) -> None:
    answer = gateway.post(GENERATIONS, content=body)

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_models_lists_the_endpoints(w: Wiring, api: TestClient) -> None:
    endpoints.create(w, "default", "digits", "noise@1")

    listed = api.get("/v1/models").json()

    model = {
        "id": "digits",
        "object": "model",
        "created": 1_800_000_000,
        "owned_by": "genctl",
        "version": "noise@1",
        "state": "pending",
    }
    assert listed == {"object": "list", "data": [model], "first_id": "digits", "last_id": "digits", "has_more": False}
    assert api.get("/v1/models/digits").json() == model
    assert api.get("/v1/models/noise@1").json() == model | {"id": "noise@1"}


def test_an_endpoint_that_is_going_is_no_model(w: Wiring, api: TestClient) -> None:
    endpoints.create(w, "default", "digits", "noise@1")
    endpoints.delete(w, "default", "digits")

    gone = api.get("/v1/models/digits")

    assert api.get("/v1/models").json()["data"] == []
    assert gone.status_code == 404
    assert gone.json()["error"]["code"] == "model_not_found"


def test_the_catalogs_routes_are_used_by_default(w: Wiring, calling: Calling) -> None:
    endpoints.create(w, "default", "digits", "noise@1")

    answer = ask(calling(create_app(w)))

    assert answer.status_code == 503
    assert "pending" in answer.json()["error"]["message"]
