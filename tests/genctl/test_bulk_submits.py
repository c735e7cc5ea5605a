"""Very many jobs from the client's side: sent in pieces and told of, one key for every try, followed by state."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from canned_platform import TOKEN, CannedPlatform, job, problem

from genctl import Client, bulk, jobfiles
from genplatform import errors
from genplatform.settings import Settings

Run = Callable[..., Any]
LARGE = b'{"kind": "train", "labels": {"text": "' + b"x" * 200 + b'"}}\n'


def client_of(platform: CannedPlatform, tmp_path: Path) -> Client:
    return Client(platform.url, TOKEN, Settings(home=tmp_path), patience=5.0, sleep=lambda _: None)


def made(count: int, **more: Any) -> dict[str, Any]:
    return {"jobs": [job(state="queued")], "next": "1" if count > 1000 else None, "count": count, "key": "k", **more}


def stands(count: int, **states: int) -> dict[str, Any]:
    return {"key": "k", "count": count, "states": states, "created_at": "2026-11-22T05:00:00.000Z"}


@pytest.fixture
def many(tmp_path: Path) -> str:
    path = tmp_path / "jobs.jsonl"
    path.write_bytes(LARGE * 6000)
    return str(path)


def test_documents_travel_as_json_lines_with_their_length_and_are_told_of(
    platform: CannedPlatform, tmp_path: Path
) -> None:
    platform.on("POST /api/v1/jobs", (201, made(3000)))
    told: list[tuple[int, int]] = []
    documents = [{"kind": "train", "name": f"t{number}", "labels": {"text": "x" * 200}} for number in range(3000)]

    answer = client_of(platform, tmp_path).submit_many(documents, on_progress=lambda sent, of: told.append((sent, of)))

    (asked,) = platform.asked
    assert answer["count"] == 3000
    assert [json.loads(line) for line in asked.body.splitlines()] == documents
    assert asked.headers["content-type"] == "application/x-ndjson"
    assert asked.headers["content-length"] == str(len(asked.body))
    assert [sent for sent, _ in told] == sorted(sent for sent, _ in told)
    assert (told[0], told[-1]) == ((0, len(asked.body)), (len(asked.body), len(asked.body)))


def far(read: int, stored: int) -> dict[str, Any]:
    return {"progress": {"read": read, "stored": stored}}


def test_who_listens_is_told_of_what_the_platform_has_stored(platform: CannedPlatform, tmp_path: Path) -> None:
    platform.on("POST /api/v1/jobs", [far(0, 0), far(900, 800), {"status": 201, "answer": made(2)}])
    told: list[tuple[int, int]] = []

    answer = client_of(platform, tmp_path).submit_many(
        [{"kind": "train"}], on_stored=lambda *so_far: told.append(so_far)
    )

    assert (answer, told) == (made(2), [(0, 0), (900, 800)])
    assert platform.asked[0].headers["accept"].startswith("application/x-ndjson")


def test_a_refusal_at_the_end_of_what_is_told_is_raised_as_ever(platform: CannedPlatform, tmp_path: Path) -> None:
    status, document = problem(409, "conflict", "The key was used.")
    platform.on("POST /api/v1/jobs", [far(5, 0), {"status": status, "answer": document}])

    with pytest.raises(errors.Conflict, match="The key was used"):
        client_of(platform, tmp_path).submit_many([{"kind": "train"}], on_stored=lambda *_: None)


def test_an_answer_that_breaks_off_or_may_pass_is_asked_for_again_under_its_key(
    platform: CannedPlatform, tmp_path: Path
) -> None:
    away = {"status": 503, "answer": problem(503, "unavailable", "The catalog is away.")[1]}
    platform.on("POST /api/v1/jobs", [far(5, 0)], [far(7, 7), away], [{"status": 201, "answer": made(2)}])

    answer = client_of(platform, tmp_path).submit_many([{"kind": "train"}], on_stored=lambda *_: None)

    assert answer["count"] == 2
    assert len(platform.asked) == 3
    assert len({asked.headers["idempotency-key"] for asked in platform.asked}) == 1


@pytest.mark.parametrize("answer", [(201, made(2)), problem(422, "bad_spec", "No.")])
def test_a_platform_that_tells_nothing_answers_as_ever(platform: CannedPlatform, tmp_path: Path, answer: Any) -> None:
    platform.on("POST /api/v1/jobs", answer)
    client = client_of(platform, tmp_path)

    if answer[0] == 201:
        assert client.submit_many([{"kind": "train"}], on_stored=lambda *_: None) == made(2)
    else:
        with pytest.raises(errors.BadSpec):
            client.submit_many([{"kind": "train"}], on_stored=lambda *_: None)


def test_an_upload_tried_again_begins_anew_under_the_same_key(platform: CannedPlatform, tmp_path: Path) -> None:
    platform.on("POST /api/v1/jobs", problem(503, "unavailable", "The catalog is away."), None, (201, made(2)))

    client_of(platform, tmp_path).submit_many([{"kind": "train", "name": "x" * 1_000_000}])

    assert len(platform.asked) == 3
    assert len({asked.headers["idempotency-key"] for asked in platform.asked}) == 1
    assert len({asked.body for asked in platform.asked}) == 1


def test_a_submit_of_more_than_one_page_returns_all_of_its_jobs(platform: CannedPlatform, tmp_path: Path) -> None:
    platform.on("POST /api/v1/jobs", (201, made(3, next="7")))
    rest = [{"jobs": [job(id="j_b")], "next": "8"}, {"jobs": [job(id="j_c")], "next": None}]
    platform.on("GET /api/v1/submissions/k/jobs", *rest)

    jobs = client_of(platform, tmp_path).submit({"kind": "train"})

    assert [one["id"] for one in jobs] == ["j_abcdefghjk", "j_b", "j_c"]
    assert [asked.query["after"] for asked in platform.asked[1:]] == [["7"], ["8"]]


def test_a_submission_is_asked_for_by_its_key_whatever_is_in_it(platform: CannedPlatform, tmp_path: Path) -> None:
    platform.on("GET /api/v1/submissions/a%2Fb%20c", stands(1, queued=1))
    client = client_of(platform, tmp_path)

    assert client.submission("a/b c")["count"] == 1
    for key in ("", "..", "a/", "/a"):
        with pytest.raises(errors.BadRequest, match="names no submission"):
            client.submission(key)


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b'{"kind": "train"}', jobfiles.JSON),
        (b'[{"kind": "train"}]', jobfiles.JSON),
        (b'{"kind": "train"}\n{"kind": "train"}\n', jobfiles.LINES),
        (b'\n{"kind": "train"}\n\n{"kind": "train"}', jobfiles.LINES),
        (b'{"kind": "train"}\n---\n{"kind": "train"}\n', jobfiles.YAML),
        (b"{kind: train}\n", jobfiles.YAML),
        (b"kind: train\n", jobfiles.YAML),
    ],
)
def test_what_stands_on_stdin_is_known_by_its_looks(body: bytes, media_type: str) -> None:
    assert jobfiles.read_stream(lambda _: body) == (body, media_type)


@pytest.mark.parametrize(("name", "longest"), [("a.yaml", 1 << 20), ("a.json", 64 << 20), ("a.jsonl", 64 << 20)])
def test_a_file_is_as_long_as_its_kind_may_be(name: str, longest: int, tmp_path: Path) -> None:
    path = tmp_path / name
    with path.open("wb") as out:
        out.truncate(longest + 1)

    with pytest.raises(errors.TooLarge, match=f"{longest:,} are allowed") as raised:
        jobfiles.read_file(path)

    assert ("JSON Lines" in raised.value.hint) == (name == "a.yaml")


def test_many_jobs_are_told_of_by_state_and_the_worst_is_the_exit_code(
    platform: CannedPlatform, genctl: Run, many: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "ROUND_SECONDS", 0.0)
    platform.on("POST /api/v1/jobs", (201, made(6000)))
    platform.on(
        "GET /api/v1/submissions/k",
        stands(6000, queued=5990, running=10),
        stands(6000, running=1, succeeded=5996, failed=3),
        stands(6000, succeeded=5997, failed=3),
    )

    ended = genctl("submit", many, "--key", "k")

    lines = ended.out.splitlines()
    assert ended.code == 1
    assert lines[0].startswith("6,000 jobs submitted in ")
    assert lines[1] == "5,990 queued, 10 running"
    assert "All are over: 5,997 succeeded, 3 failed." in lines
    assert "genctl ps --state failed" in ended.out
    assert ended.err.splitlines() == ["Uploading 1.5 MB.", "Uploaded; the platform checks and commits."]
    assert "j_abcdefghjk" not in ended.out


@pytest.mark.parametrize(
    ("states", "code"),
    [({"succeeded": 2}, 0), ({"succeeded": 1, "cancelled": 1}, 4), ({"failed": 1, "cancelled": 1}, 1)],
)
def test_a_submission_is_watched_by_its_key(
    platform: CannedPlatform, genctl: Run, states: dict[str, int], code: int
) -> None:
    platform.on("GET /api/v1/submissions/k", stands(2, **states))

    assert genctl("watch", "--submission", "k").code == code


def test_watch_wants_jobs_or_a_submission(genctl: Run) -> None:
    assert [genctl("watch").code, genctl("watch", "j", "--submission", "k").code] == [2, 2]


def test_detached_many_jobs_return_at_once_and_json_says_nothing_else(
    platform: CannedPlatform, genctl: Run, many: str
) -> None:
    platform.on("POST /api/v1/jobs", (201, made(6000)))

    detached, as_json = genctl("submit", many, "-d", "--key", "k"), genctl("submit", many, "--json", "--key", "k")

    assert platform.paths() == 2 * ["POST /api/v1/jobs"]
    assert "genctl watch --submission k" in detached.err
    assert (as_json.code, as_json.err) == (0, "")
    assert json.loads(as_json.out) == made(6000)


def test_a_submit_without_an_answer_tells_the_key_to_try_again_with(
    platform: CannedPlatform, genctl: Run, many: str
) -> None:
    platform.on("POST /api/v1/jobs", problem(503, "unavailable", "The catalog is away."))

    ended = genctl("submit", many)

    keys = {asked.headers["idempotency-key"] for asked in platform.asked}
    assert ended.code == 3
    assert f"--key {keys.pop()}" in ended.err
    assert keys == set()


def test_a_terminal_sees_the_upload_and_the_states_move(
    platform: CannedPlatform, environment: dict[str, str], many: str
) -> None:
    platform.on("POST /api/v1/jobs", [far(0, 0), far(5900, 4100), {"status": 201, "answer": made(6000)}])
    platform.on("GET /api/v1/submissions/k", stands(6000, running=6000), stands(6000, succeeded=6000))
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "genctl", "submit", many, "--key", "k"],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env={**environment, "TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "120"},
    )
    os.close(theirs)

    said = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # how Linux ends the reading of a terminal that nobody holds any more
            break
        said += part
    os.close(ours)

    assert child.wait(30) == 0
    shown = said.decode()
    assert "5,900 jobs checked, 4,100 stored" in shown
    assert "6,000 jobs submitted in" in shown
    assert "6000/6000 6,000 succeeded" in shown
