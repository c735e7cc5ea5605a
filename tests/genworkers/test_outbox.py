"""The outbox: word of a run arrives once and in order, in bounded batches; a refusal costs what was refused."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from genplatform.store import Stored
from genworkers.outbox import BYTES_A_POST, LINES_A_POST, Outbox
from genworkers.platform_client import PlatformClient

Platform = Any  # conftest.FakePlatform, which an importlib-mode test cannot import
Answer = tuple[int, dict[str, Any]]


def in_turn(*answers: Answer) -> Callable[[dict[str, object]], Answer]:
    """Answer so, one after the other, then with the last for ever."""
    left = itertools.chain(answers, itertools.repeat(answers[-1]))
    return lambda _: next(left)


def outbox(platform: Platform, on_fenced: Callable[[], None] = lambda: None, *, idle: bool = False) -> Outbox:
    """Make an outbox that delivers all the time; an idle one does only when it is flushed."""
    client, seconds = PlatformClient(platform.url, "token"), 1000.0 if idle else 0.02
    box = Outbox(client, "j_abc", 1, clock=lambda: 5.0, on_fenced=on_fenced, seconds=seconds)
    box.start()
    return box


def lines(platform: Platform) -> list[str]:
    return [line["text"] for body in platform.bodies("/progress") for line in body["logs"]]


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


@pytest.mark.parametrize("status", [400, 413])
def test_a_refused_batch_costs_that_batch_alone(platform: Platform, status: int) -> None:
    platform.answers["/progress"] = in_turn((status, {}), (200, {}))
    box, recorded = outbox(platform, idle=True), threading.Event()

    for number in range(LINES_A_POST + 1):
        box.log(f"line {number}")
    box.artifact("checkpoint", Stored("jobs/a", "0" * 64, 3), 20, then=recorded.set)
    assert box.flush(20)
    box.close()

    assert recorded.is_set()
    assert [b["key"] for b in platform.bodies("/artifacts")] == ["jobs/a"]
    assert [line["text"] for line in platform.bodies("/progress")[1]["logs"]] == [f"line {LINES_A_POST}"]


def test_a_refused_record_costs_that_record_alone(platform: Platform) -> None:
    platform.answers["/artifacts"] = in_turn((400, {}), (200, {}))
    box = outbox(platform, idle=True)
    recorded: list[int] = []

    for step in (20, 40):
        box.artifact(
            "checkpoint", Stored(f"jobs/{step}", "0" * 64, 3), step, then=lambda step=step: recorded.append(step)
        )
    box.log("hello")
    assert box.flush(20)
    box.close()

    assert [b["step"] for b in platform.bodies("/artifacts")] == [20, 40]
    assert recorded == [40]
    assert lines(platform) == ["hello"]


def test_a_batch_is_bounded_by_its_bytes(platform: Platform) -> None:
    box = outbox(platform, idle=True)
    said = [f"{number:03d} " + "\N{SNOWMAN}" * 3_990 for number in range(300)]

    for text in said:
        box.log(text)
    box.event("much", {"of": "x" * (2 * BYTES_A_POST)})
    assert box.flush(20)
    box.close()

    bodies = platform.bodies("/progress")
    sizes = [len(json.dumps(body, ensure_ascii=False).encode()) for body in bodies if not body["events"]]
    assert lines(platform) == said
    assert len(sizes) > 1
    assert max(sizes) <= BYTES_A_POST
    assert [body["logs"] for body in bodies if body["events"]] == [[]]


def test_a_line_that_is_no_text_is_said_as_well_as_it_can_be(platform: Platform) -> None:
    box = outbox(platform, idle=True)

    box.log("a file named \udcff")
    assert box.flush(20)
    box.close()

    assert lines(platform) == ["a file named ?"]
