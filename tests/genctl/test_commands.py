"""The command line against a canned platform: what it asks, prints and returns."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from canned_platform import ENDPOINT, CannedPlatform, job

Run = Callable[..., Any]
ID = "j_abcdefghjk"
GENERATE = {
    "id": "j_mnpqrstuvw",
    "name": "pictures",
    "kind": "generate",
    "outputs": {"count": 1000, "uri": "file:///srv/store/outputs/default/j_mnpqrstuvw"},
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
    "card": {"cond": {"properties": {"class": {"anyOf": [{"enum": ["zero", "one"]}, {"type": "null"}]}}}},
    "created_at": "2026-11-22T05:00:00.000Z",
}
RECIPE = {
    "name": "gan",
    "modality": "image",
    "summary": "The dense GAN.",
    "first_stage": "vqvae",
    "worker_dependent": "BatchNorm is of one worker.",
    "config": {
        "properties": {
            "latent_dim": {"type": "integer", "minimum": 1, "default": 100, "description": "Width."},
            "height": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}], "default": None},
        }
    },
    "cond": {
        "properties": {
            "class": {
                "anyOf": [{"type": "string"}, {"type": "null"}],
                "default": None,
                "description": "Which one.",
            }
        }
    },
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
    "models show digits-gan@1": ["ef" * 32, "64", "class: zero, one", "genctl endpoints create"],
    "recipes ls": ["The dense GAN."],
    "recipes show gan": [
        *("latent_dim", "integer 1..", "100", "Width.", "height      integer 1..  null", "Which one."),
        *("a model of vqvae", "BatchNorm is of one worker."),
    ],
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


def test_lines_are_found_by_a_regular_expression_that_the_platform_never_sees(
    platform: CannedPlatform, genctl: Run
) -> None:
    texts = ["loss 0.5", "Loss 0.25", "step 3", "loss none"]
    lines = [{"id": n, "run": 1, "text": text} for n, text in enumerate(texts, 1)]
    platform.on(f"GET /api/v1/jobs/{ID}", job())
    pages = ({"lines": lines[:2], "next": 2}, {"lines": lines[2:], "next": 4}, {"lines": [], "next": 4})

    found = []
    for more in ([], ["--tail", "1"]):
        platform.on(f"GET /api/v1/jobs/{ID}/logs", *pages)
        found.append(genctl("logs", ID, "--search", r"^loss \d", "-E", *more).out.splitlines())

    assert found == [["loss 0.5", "Loss 0.25"], ["Loss 0.25"]]
    assert all("search" not in a.query and "tail" not in a.query for a in platform.asked)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["-E"], "give both"), (["-E", "--search", "(a"], "'(a' is no regular expression")],
)
def test_a_regular_expression_that_is_none_is_refused_before_anything_is_asked(
    platform: CannedPlatform, genctl: Run, arguments: list[str], says: str
) -> None:
    ended = genctl("logs", ID, *arguments)

    assert (ended.code, platform.asked) == (2, [])
    assert says in ended.err


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


def test_lines_are_searched_for_and_stamped(platform: CannedPlatform, genctl: Run) -> None:
    line = {"id": 1, "run": 2, "rank": 0, "stream": "stderr", "time": "2026-11-22T05:00:00.000Z", "text": "loss 1"}
    platform.on(f"GET /api/v1/jobs/{ID}", job(state="succeeded"))
    platform.on(f"GET /api/v1/jobs/{ID}/logs", {"lines": [line], "next": 1}, {"lines": [], "next": 1})

    ended = genctl("logs", ID, "--search", "loss", "-t")

    assert ended.out == "2026-11-22T05:00:00.000Z 2 0 stderr loss 1\n"
    assert {a.query["search"][0] for a in platform.asked if a.path.endswith("/logs")} == {"loss"}
