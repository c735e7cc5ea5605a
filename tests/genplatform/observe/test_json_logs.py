"""Logs are JSON lines."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from genplatform.observe.logs import configure


@pytest.fixture(autouse=True)
def root_logger_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_line_with_its_ids_as_fields() -> None:
    stream = io.StringIO()
    configure("api", stream=stream)

    logging.getLogger("genplatform.x").info("job_submitted", extra={"job_id": "j_23456789ab", "run": 2})

    (line,) = lines(stream)
    assert line["event"] == "job_submitted"
    assert line["part"] == "api"
    assert line["level"] == "info"
    assert line["job_id"] == "j_23456789ab"
    assert line["run"] == 2
    assert str(line["time"]).endswith("Z")


def test_what_is_logged_breaks_neither_the_line_nor_a_terminal() -> None:
    stream = io.StringIO()
    configure("api", stream=stream)

    logging.getLogger("x").warning("said", extra={"text": "a\nb\x1b[31m\x9b31m"})

    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().isascii()
    assert "\x1b" not in stream.getvalue()
    assert lines(stream)[0]["text"] == "a\nb\x1b[31m\x9b31m"


def test_an_exception_brings_its_traceback() -> None:
    stream = io.StringIO()
    configure("api", stream=stream)

    try:
        raise ValueError("seven")
    except ValueError:
        logging.getLogger("x").exception("failed")

    assert "ValueError: seven" in str(lines(stream)[0]["exception"])


def test_configuring_again_replaces_the_stream() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure("api", stream=first)
    configure("api", stream=second)

    logging.getLogger("x").info("once")

    assert not first.getvalue()
    assert len(lines(second)) == 1
