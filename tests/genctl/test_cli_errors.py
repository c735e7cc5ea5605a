"""What a command says when it goes wrong: two lines and an exit code, whatever was to blame."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from canned_platform import ENDPOINT, CannedPlatform, job, problem

Run = Callable[..., Any]
ID = "j_abcdefghjk"


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (problem(404, "not_found", "No job is called 'x'.", "See `genctl ps -a`."), 2, ["No job", "genctl ps -a"]),
        (problem(401, "unauthorized", "The token is not valid here."), 3, ["not valid", "GENCTL_API_KEY"]),
        (problem(409, "conflict", "It is over."), 2, ["It is over."]),
        (problem(503, "unavailable", "The catalog is away.", "Wait."), 3, ["catalog is away", "Wait."]),
        (problem(500, "error", "Something went wrong.", "Request r1."), 1, ["went wrong", "r1"]),
        ((200, b"not json"), 3, ["no JSON"]),
    ],
)
def test_a_refusal_is_two_lines_and_an_exit_code(
    answer: Any, code: int, words: list[str], platform: CannedPlatform, genctl: Run
) -> None:
    platform.on("GET /api/v1/jobs/x", answer)

    ended = genctl("show", "x")

    assert ended.code == code
    assert ended.out == ""
    assert [w for w in words if w not in ended.err] == []
    assert ended.err.splitlines()[0].startswith("Error: ")
    assert len(ended.err.splitlines()) <= 2


def test_words_from_the_server_cannot_command_the_terminal(platform: CannedPlatform, genctl: Run) -> None:
    evil = "\x1b]0;pwned\x07\u202e\x9b2J"
    platform.on("GET /api/v1/jobs/x", problem(404, "not_found", evil, evil))
    platform.on("GET /api/v1/jobs", {"jobs": [job(name=evil, reason={"code": evil, "message": evil})], "next": evil})
    platform.on(
        f"GET /api/v1/jobs/{ID}", job(name=evil, error={"code": evil, "message": evil, "hint": evil}, model=evil)
    )
    platform.on(f"GET /api/v1/jobs/{ID}/artifacts", {"artifacts": [{"kind": "sheet", "uri": f"file:///{evil}"}]})
    platform.on(f"GET /api/v1/jobs/{ID}/logs", {"lines": [{"id": 1, "text": evil}]}, {"lines": []})
    platform.on(f"GET /api/v1/jobs/{ID}/events", {"events": [{"type": evil, "data": {evil: evil}}]}, {"events": []})
    platform.on("GET /api/v1/endpoints/e", {**ENDPOINT, "name": evil, "url": evil})

    for command in (
        "show x",
        "ps",
        f"show {ID}",
        f"logs {ID}",
        f"events {ID}",
        "endpoints show e",
        f"watch {ID}",
        "ps --json",
    ):
        ended = genctl(*command.split())
        said = ended.out + ended.err
        assert not [c for c in said if c in "\x1b\x07\u202e\x9b"], command
        assert "x1b" in said or "u001b" in said, command


def test_usage_errors_are_two_lines_and_exit_code_2(genctl: Run, platform: CannedPlatform) -> None:
    for command, word in (
        ("frobnicate", "frobnicate"),
        ("sumbit f", "submit"),
        ("ps --jsn", "--jsn"),
        ("ps -s done", "succeeded"),
        ("submit", "FILE"),
        ("submit f -p 1001", "1001"),
        ("submit f --set novalue", "novalue"),
        ("logs j --since yesterday", "yesterday"),
        ("outputs show j -- -1", "-1"),
        ("endpoints create e --model m@1 --min-replicas 3 --max-replicas 2", "--max-replicas 2"),
        ("ps -w --json", "--watch"),
        ("logs j -f --json", "--follow"),
    ):
        ended = genctl(*command.split())
        assert ended.code == 2, command
        assert word in ended.err.splitlines()[0], command
        assert ended.err.splitlines()[1].startswith("Hint:"), command
        assert ended.out == ""
    assert platform.asked == []


def test_a_bug_is_one_line_without_debug_and_a_traceback_with_it(
    platform: CannedPlatform, genctl: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from genctl import output

    def broken(*_: Any) -> None:
        raise ZeroDivisionError("by design")

    platform.on("GET /api/v1/jobs", {"jobs": [job()], "next": None})
    monkeypatch.setattr(output, "table", broken)

    plain, debug = genctl("ps"), genctl("--debug", "ps")

    assert "Traceback" not in plain.err
    assert "ZeroDivisionError: by design" in plain.err
    assert "Traceback" in debug.err
    assert plain.code == debug.code == 1


def test_a_closed_pipe_is_quiet(platform: CannedPlatform, environment: dict[str, str]) -> None:
    lines = [{"id": n, "text": "x" * 1000} for n in range(1000)]
    platform.on("GET /api/v1/jobs/j", job())
    platform.on(f"GET /api/v1/jobs/{ID}/logs", {"lines": lines, "next": 1000}, {"lines": [], "next": 1000})
    child = subprocess.Popen(
        [sys.executable, "-m", "genctl", "logs", "j"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    assert child.stdout is not None
    assert child.stderr is not None

    child.stdout.readline()
    child.stdout.close()

    assert child.stderr.read() == b""
    assert child.wait(30) == 141
    child.stderr.close()
