"""cancel, pause, resume, retry, update: each JOB is told of, and one that is refused hides nothing of the others."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from canned_platform import CannedPlatform, job, problem

Run = Callable[..., Any]
PAUSED = {"code": "paused", "message": "It is paused."}


@pytest.mark.parametrize(("verb", "state"), [("cancel", "cancelling"), ("pause", "paused"), ("resume", "queued")])
def test_each_job_is_asked_for_and_told_of(platform: CannedPlatform, genctl: Run, verb: str, state: str) -> None:
    for name in "ab":
        platform.on(f"POST /api/v1/jobs/{name}/{verb}", job(id=f"j_{name}", state=state))

    ended = genctl(verb, "a", "b")

    assert ended.code == 0
    assert platform.paths() == [f"POST /api/v1/jobs/a/{verb}", f"POST /api/v1/jobs/b/{verb}"]
    assert [line.split()[::2] for line in ended.out.splitlines()] == [["j_a", state], ["j_b", state]]


@pytest.mark.parametrize("verb", ["cancel", "pause", "resume", "retry"])
def test_a_refused_job_hides_nothing_of_the_others(platform: CannedPlatform, genctl: Run, verb: str) -> None:
    one = job(id="j_a")
    platform.on(f"POST /api/v1/jobs/a/{verb}", {"jobs": [one], "next": None} if verb == "retry" else one)
    platform.on(f"POST /api/v1/jobs/b/{verb}", problem(409, "conflict", "Job b has succeeded already.", "Nothing."))
    platform.on(f"POST /api/v1/jobs/c/{verb}", problem(404, "not_found", "There is no job 'c'."))
    platform.on(f"POST /api/v1/jobs/d/{verb}", {"jobs": [one], "next": None} if verb == "retry" else one)

    plain = genctl(verb, "a", "b", "c", "d")
    as_json = genctl(verb, "a", "b", "c", "d", "--json")

    assert (plain.code, as_json.code) == (2, 2)
    assert plain.out.count("j_a") == 2
    for said in (plain.err, as_json.err):
        assert "Error: Job b has succeeded already.\nHint:  Nothing." in said
        assert "There is no job 'c'." in said
    document = json.loads(as_json.out)
    assert [j["id"] for j in document["jobs"]] == ["j_a", "j_a"]
    assert [(e["job"], e["code"], e["hint"]) for e in document["errors"]] == [
        ("b", "conflict", "Nothing."),
        ("c", "not_found", ""),
    ]


def test_a_platform_that_goes_away_in_the_middle_is_exit_code_3_and_the_rest_is_named(
    platform: CannedPlatform, genctl: Run
) -> None:
    platform.on("POST /api/v1/jobs/a/pause", job(id="j_a", state="paused"))
    platform.on("POST /api/v1/jobs/b/pause", None)

    ended = genctl("pause", "a", "b", "c", "d")

    assert ended.code == 3
    assert "j_a" in ended.out
    assert "Not asked for: c d." in ended.err
    assert "POST /api/v1/jobs/c/pause" not in platform.paths()


def test_a_retry_shows_what_was_made_and_how_to_follow_it(platform: CannedPlatform, genctl: Run) -> None:
    made = [job(id="j_mnpqrstuvw", state="queued"), job(id="j_xyzabcdefg", name="pictures", state="waiting")]
    platform.on("POST /api/v1/jobs/a/retry", {"jobs": made, "next": None})

    plain, as_json = genctl("retry", "a"), genctl("retry", "a", "--json")

    assert plain.code == 0
    assert "j_mnpqrstuvw  digits-gan  queued" in plain.out
    assert "genctl watch j_mnpqrstuvw j_xyzabcdefg" in plain.err
    assert json.loads(as_json.out) == {"jobs": made, "next": None, "errors": []}


def test_a_retry_that_is_sent_again_carries_the_same_key_and_another_retry_another(
    platform: CannedPlatform, genctl: Run
) -> None:
    made = {"jobs": [job()], "next": None}
    platform.on("POST /api/v1/jobs/a/retry", None, made)

    genctl("retry", "a")
    genctl("retry", "a")

    first, again, other = (asked.headers["idempotency-key"] for asked in platform.asked)
    assert first == again != other


def test_a_priority_is_sent_and_shown(platform: CannedPlatform, genctl: Run) -> None:
    platform.on("PATCH /api/v1/jobs/a", job(id="j_a", state="queued", priority=900))

    plain = genctl("update", "a", "--priority", "900")
    as_json = genctl("update", "a", "-p", "900", "--json")

    assert (plain.code, as_json.code) == (0, 0)
    assert [json.loads(asked.body) for asked in platform.asked] == [{"priority": 900}] * 2
    assert "priority 900" in plain.out
    assert json.loads(as_json.out)["priority"] == 900
    for wrong in (["update", "a"], ["update", "a", "-p", "1001"], ["update", "a", "-p", "high"]):
        assert genctl(*wrong).code == 2


def test_a_wait_says_once_that_a_job_is_paused_and_goes_on_waiting(platform: CannedPlatform, genctl: Run) -> None:
    paused = job(id="j_a", state="paused", reason=PAUSED)
    platform.on("GET /api/v1/jobs/a", paused)
    platform.on("GET /api/v1/jobs/j_a", paused, paused, job(id="j_a", state="running"), paused, job(id="j_a"))

    ended = genctl("wait", "a", "--json")

    assert ended.code == 0
    assert ended.err.count("is paused") == 1
    assert "genctl resume j_a" in ended.err
    assert json.loads(ended.out)["jobs"][0]["state"] == "succeeded"


def test_a_paused_job_says_how_it_goes_on_and_an_ended_one_how_it_is_done_again(
    platform: CannedPlatform, genctl: Run
) -> None:
    for ref, state in (("p", "paused"), ("f", "failed"), ("c", "cancelled")):
        platform.on(f"GET /api/v1/jobs/{ref}", job(id=f"j_{ref}", state=state, retry_of="j_before"))
        platform.on(f"GET /api/v1/jobs/j_{ref}/artifacts", {"artifacts": []})

    said = {ref: genctl("show", ref).out for ref in "pfc"}

    assert "genctl resume j_p" in said["p"]
    assert "genctl retry j_f" in said["f"]
    assert "genctl retry j_c" in said["c"]
    assert all("j_before" in out for out in said.values())


def test_the_last_words_of_a_paused_run_are_told_and_then_nothing_is_asked(
    platform: CannedPlatform, genctl: Run
) -> None:
    paused, ref = job(state="paused", reason=PAUSED, finished_at=None), "j_abcdefghjk"
    platform.on(f"GET /api/v1/jobs/{ref}", job(state="running", finished_at=None), paused, paused, paused, job())
    platform.on(f"GET /api/v1/jobs/{ref}/artifacts", {"artifacts": []})
    platform.on(f"GET /api/v1/jobs/{ref}/events", {"events": [], "next": None})
    lines = [{"id": 1, "run": 1, "time": "2026-11-22T05:00:00.000Z", "text": "Stopped at step 40 (pause)."}]
    platform.on(f"GET /api/v1/jobs/{ref}/logs", {"lines": lines, "next": 1})

    ended = genctl("watch", ref)

    assert ended.code == 0
    assert "paused" in ended.out
    assert "Stopped at step 40 (pause)." in ended.out
    assert len([path for path in platform.paths() if path.endswith("/logs")]) == 2
