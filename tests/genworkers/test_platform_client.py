"""The client of /internal/v1: a platform that restarts fails nothing, and one that refuses is obeyed at once."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest

from genplatform.errors import BadRequest, Conflict, Fenced, Unauthorized, Unavailable
from genworkers.heartbeat import Heartbeat
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
    told, refused = threading.Event(), threading.Event()

    def hear(entry: object) -> None:
        heard.append(entry)
        told.set()

    heart = Heartbeat(PlatformClient(platform.url, "token"), lambda: {"runs": [BODY]}, hear, refused.set, 0.01)
    heart.start()
    assert told.wait(10)
    heart.close()

    assert heard[0] == stop
    assert platform.bodies("/heartbeat")[0] == {"runs": [BODY]}
    assert not refused.is_set()
