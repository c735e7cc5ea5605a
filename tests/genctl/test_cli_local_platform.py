"""The command line and the local platform: when it starts one, and how it runs the platform's own verbs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from canned_platform import TOKEN, CannedPlatform, job

from genctl import session

Run = Callable[..., Any]


class FakeLocalPlatform:
    """Stands where `python -m genplatform` is run, and remembers the verbs."""

    def __init__(self, code: int, on_up: Callable[[], None] = lambda: None) -> None:
        self.code = code
        self.on_up = on_up
        self.verbs: list[list[str]] = []

    def __call__(self, verb: str, flags: Any = (), *, quiet_stdout: bool = False) -> int:
        self.verbs.append([verb, *flags])
        self.on_up()
        return self.code


def local_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    (home / "token").write_text(TOKEN)
    for name in ("GENCTL_URL", "GENCTL_API_KEY"):
        monkeypatch.delenv(name)
    return home


def write_record(home: Path, url: str) -> None:
    (home / "platform.json").write_text(json.dumps({"url": url, "parts": [{"name": "api", "pid": os.getpid()}]}))


def test_a_local_platform_that_is_down_is_started_first(
    platform: CannedPlatform, genctl: Run, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = local_home(monkeypatch, tmp_path)
    local = FakeLocalPlatform(0, lambda: write_record(home, platform.url))
    monkeypatch.setattr(session, "run_platform", local)
    platform.on("POST /api/v1/jobs", (201, {"jobs": [job(state="queued")]}))

    first, second = genctl("submit", file, "--json"), genctl("submit", file, "--json")

    assert (first.code, second.code) == (0, 0)
    assert local.verbs == [["up"]]


def test_a_record_of_a_platform_that_does_not_answer_is_no_platform(
    platform: CannedPlatform, genctl: Run, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = local_home(monkeypatch, tmp_path)
    write_record(home, "http://127.0.0.1:1")
    monkeypatch.setattr(session, "run_platform", FakeLocalPlatform(0, lambda: write_record(home, platform.url)))
    platform.on("POST /api/v1/jobs", (201, {"jobs": [job(state="queued")]}))

    assert genctl("submit", file, "-d").code == 0


def test_a_platform_that_will_not_start_gives_its_own_exit_code(
    platform: CannedPlatform, genctl: Run, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local_home(monkeypatch, tmp_path)
    monkeypatch.setattr(session, "run_platform", FakeLocalPlatform(3))

    assert genctl("submit", file).code == 3
    assert platform.asked == []


def test_a_bad_file_starts_no_platform(genctl: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = FakeLocalPlatform(0)
    local_home(monkeypatch, tmp_path)
    monkeypatch.setattr(session, "run_platform", local)

    assert genctl("submit", str(tmp_path / "missing.yaml")).code == 2
    assert local.verbs == []


def test_commands_of_the_local_platform_pass_their_verb_flags_and_exit_code_on(
    genctl: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local_home(monkeypatch, tmp_path)
    local = FakeLocalPlatform(3)
    monkeypatch.setattr(session, "run_platform", local)

    codes = [
        genctl(*c.split()).code
        for c in ("up --port 81 --timeout 2.5 --json", "down", "status", "status --json", "doctor --json")
    ]

    assert codes == 5 * [3]
    assert local.verbs == [
        ["up", "--port=81", "--timeout=2.5", "--json"],
        ["down"],
        ["status"],
        ["status", "--json"],
        ["doctor", "--json"],
    ]


def test_the_local_platform_runs_as_a_child_with_this_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interpreter = tmp_path / "python"
    interpreter.write_text('#!/bin/sh\necho "$@" > "$(dirname "$0")/said"\nexit 7\n')
    interpreter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(interpreter))

    code = session.run_platform("status", ["--json"])

    assert code == 7
    assert (tmp_path / "said").read_text() == "-m genplatform status --json\n"
