"""The endpoints' commands: what they ask, wait for and print."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from canned_platform import ENDPOINT, TOKEN, CannedPlatform

Run = Callable[..., Any]


def test_an_endpoint_is_waited_for_and_the_curl_line_runs_as_it_is(
    platform: CannedPlatform, genctl: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "a home with spaces & 'quotes'"
    home.mkdir()
    (home / "token").write_text(TOKEN)
    (home / "platform.json").write_text(
        json.dumps({"url": platform.url, "parts": [{"name": "api", "pid": os.getpid()}]})
    )
    monkeypatch.setenv("GENCTL_HOME", str(home))
    monkeypatch.delenv("GENCTL_URL")
    monkeypatch.delenv("GENCTL_API_KEY")
    platform.on("POST /api/v1/endpoints", (201, {**ENDPOINT, "state": "pending"}))
    platform.on("GET /api/v1/endpoints/digits", {**ENDPOINT, "state": "pending"}, ENDPOINT)
    platform.on("POST /v1/images/generations", {"created": 1, "data": [{"b64_json": "aGVsbG8="}]})

    ended = genctl("endpoints", "create", "digits", "--model", "digits-gan@1", "--max-replicas", "2")

    assert ended.code == 0
    wish = json.loads(platform.asked[0].body)
    assert wish == {"name": "digits", "model": "digits-gan@1", "min_replicas": 1, "max_replicas": 2}
    line = next(line for line in ended.out.splitlines() if "curl" in line).strip()
    keep = next(line for line in ended.out.splitlines() if line.strip().startswith("|"))
    subprocess.run(["/bin/sh", "-c", f"{line} {keep}"], cwd=tmp_path, check=True, timeout=30)
    assert (tmp_path / "picture.png").read_bytes() == b"hello"
    asked = platform.asked[-1]
    assert asked.headers["authorization"] == f"Bearer {TOKEN}"
    assert json.loads(asked.body) == {"model": "digits", "prompt": "", "n": 1, "seed": 7}


@pytest.mark.parametrize(("state", "code"), [("failed", 1), ("pending", 5)])
def test_an_endpoint_that_does_not_come_up_is_told_by_the_exit_code(
    state: str, code: int, platform: CannedPlatform, genctl: Run
) -> None:
    wish = {**ENDPOINT, "state": state, "reason": {"code": "needs_cpu", "message": "It needs 2 CPUs; 0 are free."}}
    platform.on("POST /api/v1/endpoints", (201, wish))
    platform.on("GET /api/v1/endpoints/digits", wish)

    ended = genctl("endpoints", "create", "digits", "--model", "digits-gan@1", "--timeout", "0")

    assert ended.code == code
    assert code == 5 or "It needs 2 CPUs" in ended.out


def test_not_waiting_for_an_endpoint_returns_at_once(platform: CannedPlatform, genctl: Run) -> None:
    platform.on("POST /api/v1/endpoints", (201, {**ENDPOINT, "state": "pending"}))

    ended = genctl("endpoints", "create", "digits", "--model", "digits-gan@1", "--no-wait")

    assert ended.code == 0
    assert platform.paths() == ["POST /api/v1/endpoints"]
    assert "genctl endpoints show digits" in ended.out


def test_an_endpoint_is_taken_away(platform: CannedPlatform, genctl: Run) -> None:
    platform.on("DELETE /api/v1/endpoints/digits", {**ENDPOINT, "state": "deleting"})

    ended = genctl("endpoints", "rm", "digits")

    assert (ended.code, ended.out) == (0, "Endpoint digits is deleting.\n")
