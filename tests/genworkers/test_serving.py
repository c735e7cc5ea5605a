"""A replica's answers: who may ask, what is refused, and that a seed means the same picture as in a batch."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.requests import Request
from torch import nn

from genplatform.store import Store
from genworkers import models
from genworkers.recipes.noise import Noise
from genworkers.sampler import Sampler
from genworkers.serving import app
from genworkers.serving.app import Ask, Refused, Replica, build, parse_ask

CONFIG = {"height": 8, "width": 8, "channels": 1}


@pytest.fixture
def order(store: Store) -> dict[str, Any]:
    model = {
        "name": "noise",
        "version": 1,
        "digest": models.model_digest("noise", CONFIG, None),
        "key": "",
        "recipe": "noise",
        "modality": "image",
        "config": CONFIG,
        "tile": 64,
    }
    return {
        "endpoint": "noise",
        "tenant": "default",
        "route": "/e/default/noise",
        "secret": "open sesame",
        "store_url": store.url,
        "model": model,
        "cpus": 1,
        "threads": 1,
    }


def ask(replica: Replica, body: bytes | dict[str, Any], **changes: Any) -> tuple[int, Any]:
    asked = {"path": "/generate", "method": "POST", "secret": "open sesame"} | changes
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    scope = {
        "type": "http",
        "method": asked["method"],
        "path": "/e/default/noise" + asked["path"],
        "root_path": "",
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {asked['secret']}".encode())],
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": data, "more_body": False}

    response = asyncio.run(replica(Request(scope, receive)))
    text = bytes(response.body)
    return response.status_code, json.loads(text) if text.startswith(b"{") else text.decode()


def test_a_seed_gives_the_picture_that_a_batch_gives(order: dict[str, Any]) -> None:
    seeds = [5, 2**62, 5]
    batch = Sampler(Noise.configured({}), nn.ModuleDict(), 64).draw(seeds)

    status, answer = ask(Replica(order), {"seeds": seeds, "cond": None, "format": "png"})

    assert status == 200
    assert (answer["mime"], answer["model"]) == ("image/png", "noise@1")
    for image, payload, seed in zip(answer["images"], batch, seeds, strict=True):
        with Image.open(io.BytesIO(base64.b64decode(image))) as picture:
            assert np.array_equal(np.asarray(picture), payload[:, :, 0])
            origin = json.loads(picture.text["genctl"])
        assert (origin["seed"], origin["endpoint"], origin["model"]) == (seed, "noise", "noise@1")


def test_requests_that_share_a_pass_get_what_they_would_alone(order: dict[str, Any]) -> None:
    replica = Replica(order)
    asks = [Ask((1, 2), None), Ask(tuple(range(50)), None), Ask((9,), None), Ask(tuple(range(60)), None)]

    together = asyncio.run(replica.draw_all(asks))

    assert together == [asyncio.run(replica.draw(one)) for one in asks]
    assert [len(images) for images in together] == [2, 50, 1, 60]


@pytest.mark.parametrize("secret", ["", "open", "open sesame!", "ÖPEN"])
def test_who_does_not_know_the_secret_gets_nothing(order: dict[str, Any], secret: str) -> None:
    status, answer = ask(Replica(order), {"seeds": [1]}, secret=secret)

    assert status == 401
    assert "images" not in answer


def test_health_needs_no_secret_and_other_paths_are_not_there(order: dict[str, Any]) -> None:
    replica = Replica(order)

    assert ask(replica, b"", path="/healthz", method="GET", secret="")[:2] == (200, "ok")
    assert ask(replica, b"", path="/else")[0] == 404
    assert ask(replica, b"", method="GET")[0] == 405
    assert ask(replica, b"", path="/healthz", method="GET")[0] == 200


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"not json", "not JSON"),
        (b"[1]", "must be a JSON object"),
        (b"[" * 50_000, "not JSON"),
        ({}, "1 to 64"),
        ({"seeds": []}, "1 to 64"),
        ({"seeds": [1] * 65}, "1 to 64"),
        ({"seeds": ["1"]}, "whole number"),
        ({"seeds": [1.5]}, "whole number"),
        ({"seeds": [True]}, "whole number"),
        ({"seeds": [-1]}, "whole number"),
        ({"seeds": [2**63]}, "whole number"),
        ({"seeds": [1], "cond": {"label": 3}}, "takes no `cond`"),
        ({"seeds": [1], "format": "gif"}, "one of: png"),
        (b" " * 70_000, "larger than"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_plain_words(order: dict[str, Any], body: Any, message: str) -> None:
    status, answer = ask(Replica(order), body)

    assert status == 400
    assert message in answer["detail"]


def test_a_model_that_takes_conditions_wants_an_object() -> None:
    body = json.dumps({"seeds": [1], "cond": {"label": 3}}).encode()

    assert parse_ask(body, takes_cond=True, formats=["png"]).cond == {"label": 3}
    with pytest.raises(Refused, match="an object or null"):
        parse_ask(b'{"seeds": [1], "cond": 3}', takes_cond=True, formats=["png"])


def test_a_replica_of_something_else_does_not_come_to_be(order: dict[str, Any]) -> None:
    order["model"]["digest"] = hashlib.sha256(b"other").hexdigest()

    with pytest.raises(Exception, match="is not what was published"):
        Replica(order)


@pytest.mark.parametrize(("most", "wanted"), [(2, (2, None)), (5, (None, (2, 5)))])
def test_replicas_are_a_number_or_a_range(order: dict[str, Any], most: int, wanted: Any) -> None:
    deployment = build(order, 2, most)._bound_deployment

    scale = deployment._deployment_config.autoscaling_config
    found = (None, (scale.min_replicas, scale.max_replicas)) if scale else (deployment.num_replicas, None)
    assert found == wanted
    assert app.MOST_SEEDS == 64
