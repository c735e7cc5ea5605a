"""The gateway: OpenAI's completions, answered by a replica that writes texts."""

from __future__ import annotations

import base64
import json
import threading
from typing import Any

import openai
import pytest
from fastapi.testclient import TestClient

from genplatform.api.openai import completions
from genplatform.api.openai.completions import read_completions
from genplatform.domain.seeds import item_seed
from genplatform.errors import BadRequest


class Writing:
    """What a replica of a language model answers: each text names its seed and its prompt."""

    def __init__(self, replica: Any) -> None:
        replica.model = "plays@2"
        replica.make = self.make

    @staticmethod
    def make(asked: dict[str, Any]) -> bytes:
        texts = [f"{asked['cond']['prompt']}->{seed % 1000} ä" for seed in asked["seeds"]]
        told = [{"prompt_tokens": 3, "completion_tokens": 5, "finish_reason": "length"} for _ in texts]
        images = [base64.b64encode(text.encode()).decode() for text in texts]
        return json.dumps({"images": images, "mime": "text/plain", "model": "plays@2", "told": told}).encode()


@pytest.fixture
def writing(gateway: TestClient, replica: Any, routes: Any) -> TestClient:
    Writing(replica)
    routes.change(name="plays", model="plays@2", modality="text", recipe="gpt", config={})
    return gateway


def ask(gateway: TestClient, **fields: Any) -> Any:
    return gateway.post("/v1/completions", json={"model": "plays", **fields})


def test_texts_come_back_prompt_by_prompt_with_what_they_used(writing: TestClient, replica: Any) -> None:
    answer = ask(writing, prompt=["a", "b"], n=2, seed=7, max_tokens=9, stop="\n", temperature=0, top_p=0)

    body = answer.json()
    assert (answer.status_code, body["object"], body["model"], body["seed"]) == (200, "text_completion", "plays@2", 7)
    wanted = [f"{prompt}->{item_seed(7, index) % 1000} ä" for index, prompt in enumerate("aabb")]
    assert [choice["text"] for choice in body["choices"]] == wanted
    assert [(c["index"], c["finish_reason"], c["logprobs"]) for c in body["choices"]] == [
        (index, "length", None) for index in range(4)
    ]
    assert body["usage"] == {"prompt_tokens": 6, "completion_tokens": 20, "total_tokens": 26}
    assert {one["format"] for one in replica.asked} == {"txt"}
    (cond,) = [one["cond"] for one in replica.asked if one["cond"]["prompt"] == "a"]
    assert cond | {"top_p": 0} == {
        "prompt": "a",
        "max_new_tokens": 9,
        "temperature": 0,
        "top_p": 0,
        "stop": ["\n"],
        "echo": False,
    }


def test_a_large_request_takes_only_some_of_an_endpoints_places(
    writing: TestClient, replica: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completions, "PROMPTS_AT_ONCE", 2)  # as many as are let through in these tests at all
    under_way: set[str] = set()
    two, lock = threading.Barrier(2), threading.Lock()

    def make(asked: dict[str, Any]) -> bytes:
        with lock:
            under_way.add(asked["cond"]["prompt"])
        two.wait(30)
        with lock:
            under_way.remove(asked["cond"]["prompt"])
        return Writing.make(asked)

    replica.make = make

    assert ask(writing, prompt=[f"p{number}" for number in range(12)]).status_code == 200
    assert not under_way


def test_no_prompt_is_an_empty_one(writing: TestClient, replica: Any) -> None:
    assert ask(writing, prompt=None).status_code == 200
    assert [one["cond"]["prompt"] for one in replica.asked] == [""]


def test_the_sdk_reads_it(writing: TestClient) -> None:
    answer = ask(writing, prompt="a", seed=1).json()

    read = openai.types.Completion.model_validate(answer)

    assert read.choices[0].text.startswith("a->")
    assert read.usage is not None
    assert read.usage.total_tokens == 8


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stream": True}, "stream"),
        ({"logprobs": 2}, "logprobs"),
        ({"suffix": "x"}, "suffix"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"best_of": 2}, "best_of"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": []}, "n"),
        ({"n": 65}, "n"),
        ({"prompt": ["a"] * 33, "n": 2}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 2.5}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"echo": 1}, "echo"),
        ({"seed": -1}, "seed"),
        ({"model": ""}, "model"),
    ],
)
def test_what_is_not_offered_is_refused_by_its_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read_completions(json.dumps({"model": "plays", "prompt": "a"} | fields).encode())

    assert refused.value.details["param"] == param


def test_a_prompt_that_has_no_room_is_told_as_the_replica_tells_it(writing: TestClient, replica: Any) -> None:
    replica.status, replica.answer = 400, b'{"detail": "cond: the prompt has 900 tokens"}'

    answer = ask(writing, prompt="a" * 900)

    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, "prompt", "context_length_exceeded")
    assert error["message"] == "cond: the prompt has 900 tokens"


def test_a_replica_that_does_not_tell_what_a_text_used_is_no_answer(writing: TestClient, replica: Any) -> None:
    replica.make = lambda asked: json.dumps({"images": ["YQ=="], "mime": "text/plain", "model": "plays@2"}).encode()

    assert ask(writing, prompt="a").status_code == 500


def test_a_model_of_pictures_writes_no_texts_and_one_of_texts_draws_no_pictures(
    gateway: TestClient, routes: Any
) -> None:
    assert gateway.post("/v1/completions", json={"model": "digits", "prompt": "a"}).json()["error"]["param"] == "model"
    routes.change(modality="text")
    pictures = gateway.post("/v1/images/generations", json={"model": "digits", "prompt": ""})
    assert pictures.json()["error"]["param"] == "model"
