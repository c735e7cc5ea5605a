"""JSON bodies are read so that nothing in them trips what lies behind."""

from __future__ import annotations

import pytest

from genplatform.api.bodies import json_object
from genplatform.errors import BadRequest


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[1, 2]",
        b"7",
        b'{"a": 1e999}',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": "\x00"}',
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'{"a": ' + b"9" * 10_000 + b"}",
    ],
)
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        json_object(body)


def test_the_place_of_a_slip_is_told() -> None:
    with pytest.raises(BadRequest, match="line 2, column 5"):
        json_object(b'{\n"a" 1}')


def test_a_diverged_loss_becomes_null_where_that_is_wanted() -> None:
    body = b'{"values": {"loss": NaN, "d": -Infinity, "g": 1e999, "lr": 0.5}}'

    read = json_object(body, not_a_number_is_null=True)

    assert read == {"values": {"loss": None, "d": None, "g": None, "lr": 0.5}}


def test_characters_that_no_record_keeps_are_replaced() -> None:
    body = rb'{"a\u0000": ["x\ud800y", {"z": "\u0000"}], "fine": "\ud83d\ude00 \\u0000 \\ud800"}'

    read = json_object(body)

    assert read == {"a\ufffd": ["x\ufffdy", {"z": "\ufffd"}], "fine": "\U0001f600 \\u0000 \\ud800"}
