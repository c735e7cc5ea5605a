"""The client of /internal/v1: a platform that restarts fails nothing, and one that refuses is obeyed at once."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest

from genplatform.errors import BadRequest, Conflict, Fenced, Unauthorized, Unavailable
from genworkers.heartbeat import Heartbeat
from genworkers.outbox import Outbox
from genworkers.platform_client import PlatformClient

Platform = Any  # conftest.FakePlatform, which an importlib-mode test cannot import
Answer = tuple[int, dict[str, Any]]
BODY = {"job_id": "j_abc", "run": 1}


def in_turn(*answers: Answer) -> Callable[[dict[str, object]], Answer]:
    """Answer so, one after the other, then with the last for ever."""
    left = itertools.chain(answers, itertools.repeat(answers[-1]))
    return lambda _: next(left)


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_what_may_pass_is_tried_again(platform: Platform, status: int) -> None:
    platform.answers["/publish"] = in_turn((status, {}), (status, {}), (200, {"model": "digits-gan@4"}))

    answer = PlatformClient(platform.url, "token").publish(BODY)

    assert answer == {"model": "digits-gan@4"}
    assert platform.paths() == ["/publish"] * 3
    assert platform.tokens == {"Bearer token"}


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [(409, "fenced", Fenced), (409, "conflict", Conflict), (401, "unauthorized", Unauthorized), (400, "x", BadRequest)],
)
def test_a_refusal_is_final(platform: Platform, status: int, code: str, error: type[Exception]) -> None:
    platform.answers["/started"] = in_turn((status, {"code": code, "detail": "No.", "hint": "Ask."}))

    with pytest.raises(error, match=r"No\.") as caught:
        PlatformClient(platform.url, "token").started(BODY)

    assert type(caught.value) is error
    assert len(platform.calls) == 1


def test_a_platform_that_is_down_is_unavailable_in_the_end(platform: Platform) -> None:
    platform.close()

    with pytest.raises(Unavailable, match="cannot be reached"):
        PlatformClient(platform.url, "token", retry_seconds=0.3).started(BODY)


def test_trying_again_ends_when_it_is_given_up(platform: Platform) -> None:
    client = PlatformClient(platform.url, "token")
    platform.answers["/progress"] = in_turn((503, {}))
    ended: list[Exception] = []

    def deliver() -> None:
        try:
            client.progress(BODY)
        except Unavailable as error:
            ended.append(error)

    trying = threading.Thread(target=deliver)
    trying.start()
    platform.wait_for(lambda: len(platform.calls) >= 1)

    client.give_up()
    trying.join(timeout=10)

    assert len(ended) == 1


def test_a_heartbeat_goes_on_while_nobody_answers_and_passes_on_who_is_to_stop(platform: Platform) -> None:
    stop = {"job_id": "j_abc", "run": 1, "shard": None, "reason": "cancel"}
    platform.answers["/heartbeat"] = in_turn((503, {}), (500, {}), (200, {"stop": []}), (200, {"stop": [stop]}))
    heard: list[object] = []
    told = threading.Event()

    def hear(entry: object) -> None:
        heard.append(entry)
        told.set()

    heart = Heartbeat(PlatformClient(platform.url, "token"), lambda: {"runs": [BODY]}, hear, 0.01)
    heart.start()
    assert told.wait(10)
    heart.close()

    assert heard[0] == stop
    assert platform.bodies("/heartbeat")[0] == {"runs": [BODY]}


def outbox(platform: Platform, on_fenced: Callable[[], None] = lambda: None) -> Outbox:
    box = Outbox(
        PlatformClient(platform.url, "token"), "j_abc", 1, clock=lambda: 5.0, on_fenced=on_fenced, seconds=0.02
    )
    box.start()
    return box


def test_word_arrives_once_and_in_order_although_the_platform_was_away(platform: Platform) -> None:
    platform.answers["/progress"] = in_turn((503, {}), (503, {}), (200, {}))
    box = outbox(platform)

    for number in range(1200):
        box.log(f"line {number}")
    box.metrics(10, {"d_loss": 0.5})
    box.event("resumed", {"step": 3})
    box.progress(1, 4, "steps", None)
    box.progress(2, 4, "steps", 8.0)
    assert box.flush(20)
    box.close()

    taken = platform.bodies("/progress")[2:]
    lines = [line for body in taken for line in body["logs"]]
    assert [line["text"] for line in lines] == [f"line {n}" for n in range(1200)]
    assert [line["seq"] for line in lines] == list(range(1, 1201))
    assert [m for body in taken for m in body["metrics"]] == [{"step": 10, "time": 5.0, "values": {"d_loss": 0.5}}]
    assert [e for body in taken for e in body["events"]] == [{"type": "resumed", "time": 5.0, "data": {"step": 3}}]
    told = [body["progress"] for body in taken if body["progress"]]
    assert told[-1] == {"done": 2, "total": 4, "unit": "steps", "rate": 8.0}


def test_a_run_that_is_fenced_hears_of_it_and_sends_no_more(platform: Platform) -> None:
    platform.refuse("/progress")
    lost = threading.Event()
    box = outbox(platform, lost.set)

    box.log("hello")

    assert lost.wait(10)
    assert box.flush(10)
    box.close()
    assert len(platform.calls) == 1


def test_flush_says_when_word_could_not_be_delivered(platform: Platform) -> None:
    platform.answers["/progress"] = in_turn((503, {}))
    client = PlatformClient(platform.url, "token", retry_seconds=0.05)
    box = Outbox(client, "j_abc", 1, clock=lambda: 0.0, on_fenced=lambda: None, seconds=0.01)
    box.start()

    box.log("hello")

    assert not box.flush(0.3)
    box.close()
