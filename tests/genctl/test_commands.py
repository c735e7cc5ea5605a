"""The command line against a canned platform: what it asks, prints and returns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from canned_platform import TOKEN, CannedPlatform, job, problem

Run = Callable[..., Any]
ID = "j_abcdefghjk"
GENERATE = {
    "id": "j_mnpqrstuvw",
    "name": "pictures",
    "kind": "generate",
    "outputs": {"count": 1000, "uri": "file:///home/me/store/outputs/default/j_mnpqrstuvw"},
}
ENDPOINT = {
    "name": "digits",
    "state": "ready",
    "url": "http://127.0.0.1:1/v1",
    "model": "digits-gan@1",
    "replicas": {"ready": 1, "min": 1, "max": 2},
    "reason": None,
}
ITEM = {
    "index": 3,
    "custom_id": None,
    "seed": 12345,
    "cond": None,
    "status": "ok",
    "files": [{"path": "a/000003.png", "sha256": "ab" * 32, "payload_sha256": "cd" * 32, "mime": "image/png"}],
    "path": "a/000003.png",
    "sha256": "ab" * 32,
    "error": None,
}
MODEL = {
    "name": "digits-gan",
    "version": 1,
    "aliases": ["latest"],
    "recipe": "gan",
    "modality": "image",
    "job_id": ID,
    "parent": None,
    "digest": "ef" * 32,
    "data_digest": "01" * 32,
    "metrics": {"loss_d": 0.61234567},
    "tile": 64,
    "created_at": "2026-11-22T05:00:00.000Z",
}
RECIPE = {
    "name": "gan",
    "modality": "image",
    "summary": "The dense GAN.",
    "config": {
        "properties": {
            "latent_dim": {"type": "integer", "minimum": 1, "default": 100, "description": "Width."},
            "height": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}], "default": None},
        }
    },
    "cond": None,
}


def reading(platform: CannedPlatform) -> None:
    platform.on("GET /api/v1/jobs", {"jobs": [job()], "next": None})
    platform.on(f"GET /api/v1/jobs/{ID}", job())
    platform.on(f"GET /api/v1/jobs/{ID}/artifacts", {"artifacts": []})
    platform.on(
        f"GET /api/v1/jobs/{ID}/events",
        {
            "events": [{"id": "4", "time": "2026-11-22T05:00:00.000Z", "type": "submitted", "data": {"a": 1}}],
            "next": "4",
        },
        {"events": [], "next": "4"},
    )
    platform.on(
        f"GET /api/v1/jobs/{ID}/logs",
        {"lines": [{"id": 9, "run": 1, "time": "2026-11-22T05:00:00.000Z", "text": "step 1"}], "next": 9},
        {"lines": [], "next": 9},
    )
    platform.on(f"GET /api/v1/jobs/{ID}/outputs", {"job_id": ID, "count": 1, "items": [ITEM], "next": None})
    platform.on(f"GET /api/v1/jobs/{ID}/outputs/3", {**ITEM, "uri": "file:///x/000003.png"})
    platform.on("GET /api/v1/models", {"models": [MODEL]})
    platform.on("GET /api/v1/models/digits-gan%401", MODEL)
    platform.on("GET /api/v1/recipes", {"recipes": [{k: RECIPE[k] for k in ("name", "modality", "summary")}]})
    platform.on("GET /api/v1/recipes/gan", RECIPE)
    platform.on("GET /api/v1/endpoints", {"endpoints": [ENDPOINT]})
    platform.on("GET /api/v1/endpoints/digits", ENDPOINT)
    platform.on("GET /api/v1/schema", {"$schema": "x"})
    platform.on("GET /api/v1/status", {"state": "up", "parts": [{"name": "catalog", "state": "up"}]})


READS = {
    "ps": {"jobs": [job()], "next": None},
    f"show {ID}": job(),
    f"events {ID}": {
        "events": [{"id": "4", "time": "2026-11-22T05:00:00.000Z", "type": "submitted", "data": {"a": 1}}],
        "next": "4",
    },
    f"logs {ID}": {"lines": [{"id": 9, "run": 1, "time": "2026-11-22T05:00:00.000Z", "text": "step 1"}], "next": 9},
    f"wait {ID}": {"jobs": [job()], "next": None},
    f"outputs ls {ID}": {"job_id": ID, "count": 1, "items": [ITEM], "next": None},
    f"outputs show {ID} 3": {**ITEM, "uri": "file:///x/000003.png"},
    "models ls": {"models": [MODEL]},
    "models show digits-gan@1": MODEL,
    "recipes ls": {"recipes": [{"name": "gan", "modality": "image", "summary": "The dense GAN."}]},
    "recipes show gan": RECIPE,
    "endpoints ls": {"endpoints": [ENDPOINT]},
    "endpoints show digits": ENDPOINT,
    "schema": {"$schema": "x"},
}


@pytest.mark.parametrize("command", READS)
def test_json_is_the_documented_shape_and_nothing_else(command: str, platform: CannedPlatform, genctl: Run) -> None:
    reading(platform)

    ended = genctl(*command.split(), "--json")

    assert (ended.code, ended.err) == (0, "")
    assert json.loads(ended.out) == READS[command]
    assert ended.out.count("\n") > 1 or READS[command] == {}


WORDS = {
    "ps": ["ID", ID, "digits-gan", "succeeded", "40/40 steps", "ago"],
    f"show {ID}": [ID, "digits-gan@1", "42 s", "Runs", "genctl endpoints create digits-gan --model digits-gan@1"],
    f"events {ID}": ["submitted", "a=1"],
    f"logs {ID}": ["step 1"],
    f"wait {ID}": [ID, "succeeded"],
    f"outputs ls {ID}": ["12345", "a/000003.png", "abababababab"],
    f"outputs show {ID} 3": ["/x/000003.png", "cd" * 32, "image/png"],
    "models ls": ["digits-gan@1", "gan", "loss_d=0.6123", "efefefefefef"],
    "models show digits-gan@1": ["ef" * 32, "64", "genctl endpoints create"],
    "recipes ls": ["The dense GAN."],
    "recipes show gan": ["latent_dim", "integer 1..", "100", "Width.", "height      integer 1..  null"],
    "endpoints ls": ["digits", "1/1..2", "http://127.0.0.1:1/v1"],
    "endpoints show digits": ["curl -s", "$GENCTL_API_KEY", "picture.png"],
    "status": ["catalog", "up"],
}


@pytest.mark.parametrize("command", WORDS)
def test_people_are_told_what_they_need(command: str, platform: CannedPlatform, genctl: Run) -> None:
    reading(platform)

    ended = genctl(*command.split())

    assert ended.code == 0
    assert [word for word in WORDS[command] if word not in ended.out] == []
    assert "\x1b" not in ended.out


def test_the_status_of_a_remote_platform_has_the_documented_shape(platform: CannedPlatform, genctl: Run) -> None:
    reading(platform)

    ended = genctl("status", "--json")

    assert json.loads(ended.out) == {
        "state": "up",
        "url": platform.url,
        "parts": [{"name": "catalog", "state": "up", "pid": None, "detail": "", "hint": ""}],
    }


def test_a_remote_platform_that_is_away_is_down_in_json_and_exit_code_3(
    genctl: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENCTL_URL", "http://127.0.0.1:1")

    as_json, plain = genctl("status", "--json"), genctl("status")

    assert (as_json.code, plain.code) == (3, 3)
    assert json.loads(as_json.out)["state"] == "down"
    assert "http://127.0.0.1:1" in plain.err


def test_ps_passes_its_filters_on(platform: CannedPlatform, genctl: Run) -> None:
    reading(platform)

    genctl("ps", "-a", "-s", "failed", "-s", "lost"[:0] or "cancelled", "-q", "slow", "-l", "5", "--after", "77")

    assert platform.asked[0].query == {
        "all": ["true"],
        "state": ["failed", "cancelled"],
        "queue": ["slow"],
        "limit": ["5"],
        "after": ["77"],
    }


def test_nothing_to_list_is_said_beside_the_output(platform: CannedPlatform, genctl: Run) -> None:
    platform.on("GET /api/v1/jobs", {"jobs": [], "next": None})

    ended = genctl("ps")

    assert ended.out == ""
    assert "genctl ps -a" in ended.err


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

    reading(platform)
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


def test_wait_returns_the_worst_of_the_jobs(platform: CannedPlatform, genctl: Run) -> None:
    for name, state in (("a", "succeeded"), ("b", "failed"), ("c", "cancelled")):
        platform.on(f"GET /api/v1/jobs/{name}", job(id=f"j_{name}", state=state))

    codes = {jobs: genctl("wait", *jobs).code for jobs in ("a", "ab", "ac", "abc")}

    assert codes == {"a": 0, "ab": 1, "ac": 4, "abc": 1}


def test_a_wait_that_times_out_is_5(platform: CannedPlatform, genctl: Run) -> None:
    platform.on("GET /api/v1/jobs/a", job(state="running"))
    platform.on(f"GET /api/v1/jobs/{ID}", job(state="running"))

    ended = genctl("wait", "a", "--timeout", "0")

    assert ended.code == 5
    assert f"genctl wait {ID}" in ended.err


def test_cancel_asks_for_each_job(platform: CannedPlatform, genctl: Run) -> None:
    for name in "ab":
        platform.on(f"POST /api/v1/jobs/{name}/cancel", job(id=f"j_{name}", state="cancelling"))

    ended = genctl("cancel", "a", "b")

    assert ended.code == 0
    assert platform.paths() == ["POST /api/v1/jobs/a/cancel", "POST /api/v1/jobs/b/cancel"]
    assert "j_b" in ended.out


def test_logs_are_read_to_the_end_and_followed_until_the_job_is_over(platform: CannedPlatform, genctl: Run) -> None:
    platform.on("GET /api/v1/jobs/j", job(state="running"))
    platform.on(f"GET /api/v1/jobs/{ID}", job(state="running"), job())
    pages = [[{"id": 1, "text": "one"}], [], [{"id": 2, "text": "two"}], [], [{"id": 3, "text": "three"}], []]
    platform.on(f"GET /api/v1/jobs/{ID}/logs", *({"lines": p, "next": p[-1]["id"] if p else None} for p in pages))

    ended = genctl("logs", "j", "-f", "--run", "2")

    assert ended.out.split() == ["one", "two", "three"]
    asked = [a.query for a in platform.asked if a.path.endswith("/logs")]
    assert [q.get("after") for q in asked] == [None, ["1"], ["1"], ["2"], ["2"], ["3"]]
    assert all(q["run"] == ["2"] for q in asked)


def test_the_tail_of_the_logs_is_asked_for_once(platform: CannedPlatform, genctl: Run) -> None:
    reading(platform)

    ended = genctl("logs", ID, "--tail", "5", "--since", "2026-11-22T05:00:00Z")

    assert ended.out == "step 1\n"
    [asked] = [a.query for a in platform.asked if a.path.endswith("/logs")]
    assert asked == {"tail": ["5"], "since": ["1795323600.0"]}


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


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_printed(shell: str, genctl: Run) -> None:
    ended = genctl("completion", shell)

    assert ended.code == 0
    assert "_GENCTL_COMPLETE" in ended.out


def test_jobs_are_completed_from_the_server_and_nothing_is_said_when_it_is_away(
    platform: CannedPlatform, process: Run
) -> None:
    platform.on("GET /api/v1/jobs", {"jobs": [job(), job(name="a b;c\n", id="j_zzz")], "next": None})
    typing = {"_GENCTL_COMPLETE": "bash_complete", "COMP_WORDS": "genctl show d", "COMP_CWORD": "2"}

    there = process(**typing)
    away = process(**typing, GENCTL_URL="http://127.0.0.1:1")

    assert there.out.split() == ["plain,digits-gan"]
    assert (away.code, away.out.strip(), away.err) == (0, "", "")


def test_piped_tables_keep_their_ids_whatever_the_width(platform: CannedPlatform, process: Run) -> None:
    platform.on(
        "GET /api/v1/jobs", {"jobs": [job(name="n" * 63, reason={"code": "x", "message": "w" * 300})], "next": None}
    )

    ended = process("ps", COLUMNS="20", FORCE_COLOR="1")

    assert ID in ended.out
    assert "w" * 300 in ended.out
    assert "\x1b" not in ended.out
