"""diff: a table of what differs for people, the document for programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from canned_platform import CannedPlatform, job

Run = Callable[..., Any]
FOUND = {
    "jobs": [job(name="first"), job(id="j_mnpqrstuvw", name="second")],
    "differences": [
        {"part": "spec", "field": "params.widths", "a": [64, 32], "b": None},
        {"part": "data", "field": "digest", "a": "0123456789abcdef" * 4, "b": "f" * 64},
        {"part": "result", "field": "metrics.loss", "a": 0.123456, "b": 2},
        {"part": "spec", "field": "evil", "a": "\x1b[31m", "b": True},
    ],
}


def test_differences_are_a_table_with_short_digests(platform: CannedPlatform, genctl: Run) -> None:
    platform.on("GET /api/v1/jobs/first/diff/second", FOUND)

    ended = genctl("diff", "first", "second")

    lines = [line.split() for line in ended.out.splitlines()]
    assert ended.code == 0
    assert lines[0] == ["a:", "j_abcdefghjk", "first", "succeeded"]
    assert ["spec", "params.widths", "[64,", "32]", "-"] in lines
    assert ["data", "digest", "0123456789ab", "ffffffffffff"] in lines
    assert ["result", "metrics.loss", "0.1235", "2"] in lines
    assert "\x1b" not in ended.out


def test_what_does_not_differ_is_told_so(platform: CannedPlatform, genctl: Run) -> None:
    platform.on("GET /api/v1/jobs/a/diff/b", FOUND | {"differences": []})

    assert "They do not differ" in genctl("diff", "a", "b").out


def test_programs_get_the_document(platform: CannedPlatform, genctl: Run) -> None:
    platform.on("GET /api/v1/jobs/a/diff/b", FOUND)

    assert json.loads(genctl("diff", "a", "b", "--json").out) == FOUND
