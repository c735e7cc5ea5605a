"""The Python client against a canned platform over real HTTP."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from canned_platform import TOKEN, CannedPlatform, job, problem

from genctl import Client
from genplatform import errors
from genplatform.settings import Settings


def client_of(platform: CannedPlatform, tmp_path: Path, **more: Any) -> Client:
    return Client(platform.url, TOKEN, Settings(home=tmp_path), **{"patience": 5.0, "sleep": lambda _: None} | more)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_submit_tried_again_keeps_its_key_and_its_body(platform: CannedPlatform, tmp_path: Path) -> None:
    platform.on("POST /api/v1/jobs", problem(503, "unavailable", "The catalog is away."), None, {"jobs": [job()]})

    [made] = client_of(platform, tmp_path).submit({"kind": "train"})

    assert made["id"] == "j_abcdefghjk"
    assert len(platform.asked) == 3
    assert len({a.headers["idempotency-key"] for a in platform.asked}) == 1
    assert {a.body for a in platform.asked} == {b'{"kind": "train"}'}


def test_each_submit_makes_a_key_of_its_own_unless_one_is_given(platform: CannedPlatform, tmp_path: Path) -> None:
    platform.on("POST /api/v1/jobs", {"jobs": [job()]})
    client = client_of(platform, tmp_path)

    for key in (None, None, "mine"):
        client.submit("kind: train", key=key)

    first, second, third = (a.headers["idempotency-key"] for a in platform.asked)
    assert first != second
    assert third == "mine"


def test_documents_travel_as_what_they_are(platform: CannedPlatform, tmp_path: Path) -> None:
    platform.on("POST /api/v1/jobs", {"jobs": []})
    file = tmp_path / "a.json"
    file.write_bytes(b'{"kind":"train"}')
    client = client_of(platform, tmp_path)

    for spec in ("kind: train", {"kind": "train"}, [{"a": "\U0001f600"}, {"b": 2}], file):
        client.submit(spec)

    assert [a.headers["content-type"].split("/")[1] for a in platform.asked] == ["yaml", "json", "yaml", "json"]
    assert platform.asked[2].body == '{"a": "\U0001f600"}\n---\n{"b": 2}'.encode()


def test_overrides_travel_in_the_query(platform: CannedPlatform, tmp_path: Path) -> None:
    platform.on("POST /api/v1/jobs", {"jobs": []})

    client_of(platform, tmp_path).submit("x", sets=["a=1", "b=c=d"], name="n", queue="q", priority=0, dry_run=True)

    assert platform.asked[0].query == {
        "set": ["a=1", "b=c=d"],
        "name": ["n"],
        "queue": ["q"],
        "priority": ["0"],
        "dry_run": ["true"],
    }


def test_a_body_past_the_limit_is_not_sent(platform: CannedPlatform, tmp_path: Path) -> None:
    with pytest.raises(errors.TooLarge, match="1,048,576"):
        client_of(platform, tmp_path).submit("x" * (1 << 20) + "x")

    assert platform.asked == []


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "not_found", errors.NotFound),
        (409, "conflict", errors.Conflict),
        (409, "fenced", errors.Fenced),
        (413, "too_large", errors.TooLarge),
        (400, "bad_request", errors.BadRequest),
        (400, "a_word_of_tomorrow", errors.BadRequest),
        (500, "error", errors.GenctlError),
    ],
)
def test_a_refusal_becomes_the_error_it_was(
    platform: CannedPlatform, tmp_path: Path, status: int, code: str, kind: type[errors.GenctlError]
) -> None:
    platform.on("GET /api/v1/jobs/x", problem(status, code, "What happened.", "What to do."))

    with pytest.raises(kind) as raised:
        client_of(platform, tmp_path).job("x")

    assert type(raised.value) is kind
    assert (raised.value.message, raised.value.hint, raised.value.code) == ("What happened.", "What to do.", code)
    assert len(platform.asked) == 1


def test_a_refused_token_is_told_in_the_words_of_who_types_commands(platform: CannedPlatform, tmp_path: Path) -> None:
    settings = record(tmp_path / "home", platform.url, os.getpid())
    settings.token_file.write_text("stale")

    with pytest.raises(errors.Unauthorized) as local:
        Client(settings=settings).models()
    with pytest.raises(errors.Unauthorized) as remote:
        Client(platform.url, "wrong", Settings(home=tmp_path / "other")).models()

    assert str(settings.token_file) in local.value.hint
    assert "GENCTL_API_KEY" in remote.value.hint


def test_a_bad_spec_carries_every_problem(platform: CannedPlatform, tmp_path: Path) -> None:
    found = [{"message": "m1", "path": "a.b", "line": 3, "column": 5, "document": 0, "hint": "h"}, {"message": "m2"}]
    platform.on("POST /api/v1/jobs", problem(400, "bad_spec", "m1", problems=found))

    with pytest.raises(errors.BadSpec) as raised:
        client_of(platform, tmp_path).submit("kind: x")

    assert raised.value.problems[0] == errors.SpecProblem("m1", "a.b", 3, 5, 0, "h")
    assert raised.value.problems[1].message == "m2"


def test_an_openai_error_and_a_proxys_page_are_understood(platform: CannedPlatform, tmp_path: Path) -> None:
    platform.on(
        "POST /v1/images/generations", (404, {"error": {"message": "No such model.", "code": "model_not_found"}})
    )
    platform.on("GET /api/v1/schema", (405, b"<html>no</html>"))
    client = client_of(platform, tmp_path)

    with pytest.raises(errors.NotFound, match="No such model"):
        client.images("nope")
    with pytest.raises(errors.BadRequest, match="405"):
        client.schema()


def test_an_answer_that_is_no_json_is_not_taken_for_a_platform(platform: CannedPlatform, tmp_path: Path) -> None:
    platform.on("GET /api/v1/schema", b"<html>Please log in</html>")

    with pytest.raises(errors.Unavailable, match="no JSON"):
        client_of(platform, tmp_path).schema()


def test_a_redirect_is_named_and_not_followed(platform: CannedPlatform, tmp_path: Path) -> None:
    platform.on("GET /api/v1/schema", (307, b""))

    with pytest.raises(errors.Unavailable, match="elsewhere"):
        client_of(platform, tmp_path).schema()


def test_patience_is_bounded_and_the_address_is_named(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{closed_port()}"

    with pytest.raises(errors.Unavailable, match=url) as raised:
        Client(url, TOKEN, Settings(home=tmp_path), patience=0.3).models()

    assert raised.value.exit_code == 3
    assert "genctl up" in raised.value.hint


def test_a_platform_that_does_not_come_back_gives_its_own_words(platform: CannedPlatform, tmp_path: Path) -> None:
    platform.on("GET /api/v1/models", problem(503, "unavailable", "Redis is away.", "Wait."))

    with pytest.raises(errors.Unavailable, match="Redis is away") as raised:
        client_of(platform, tmp_path, patience=0.3, sleep=time.sleep).models()

    assert raised.value.hint == "Wait."
    assert len(platform.asked) > 1


def test_names_stay_one_segment_of_the_path(platform: CannedPlatform, tmp_path: Path) -> None:
    client = client_of(platform, tmp_path)

    with pytest.raises(errors.NotFound):
        client.job("models?x#y")

    assert platform.asked[0].path == "/api/v1/jobs/models%3Fx%23y"
    for nothing in ("", ".", "..", "../models", "a/events"):
        with pytest.raises(errors.BadRequest):
            client.job(nothing)
    assert len(platform.asked) == 1


def test_waiting_goes_on_by_id_when_the_name_comes_to_mean_another_job(
    platform: CannedPlatform, tmp_path: Path
) -> None:
    platform.on("GET /api/v1/jobs/gan", job(state="running"))
    platform.on("GET /api/v1/jobs/j_abcdefghjk", job(state="running"), job(state="failed"))

    ended = client_of(platform, tmp_path).wait("gan")

    assert ended["state"] == "failed"
    assert platform.paths() == ["GET /api/v1/jobs/gan"] + 2 * ["GET /api/v1/jobs/j_abcdefghjk"]


def test_a_wait_that_times_out_says_so(platform: CannedPlatform, tmp_path: Path) -> None:
    platform.on("GET /api/v1/jobs/j_abcdefghjk", job(state="running"))
    ticks = iter(range(100))

    with pytest.raises(errors.WaitTimedOut, match="j_abcdefghjk") as raised:
        client_of(platform, tmp_path, clock=lambda: float(next(ticks))).wait("j_abcdefghjk", timeout=3)

    assert raised.value.exit_code == 5


def test_outputs_are_read_page_by_page(platform: CannedPlatform, tmp_path: Path) -> None:
    pages = [{"items": [{"index": 0}], "next": "0"}, {"items": [{"index": 1}], "next": None}]
    platform.on("GET /api/v1/jobs/j/outputs", *pages)
    platform.on("GET /api/v1/jobs/j/outputs/1/content", b"\x89PNG")
    client = client_of(platform, tmp_path)

    assert [item["index"] for item in client.all_outputs("j")] == [0, 1]
    assert platform.asked[1].query == {"after": ["0"]}
    assert client.content("j", 1) == b"\x89PNG"


def record(home: Path, url: str, pid: int) -> Settings:
    home.mkdir()
    (home / "token").write_text(f"{TOKEN}\n")
    (home / "platform.json").write_text(json.dumps({"url": url, "parts": [{"name": "api", "pid": pid, "port": 1}]}))
    return Settings(home=home)


def test_the_local_platform_is_found_by_its_record_and_opened_by_its_token(
    platform: CannedPlatform, tmp_path: Path
) -> None:
    platform.on("GET /api/v1/models", {"models": []})
    settings = record(tmp_path / "home", platform.url, os.getpid())

    client = Client(settings=settings)

    assert client.models() == []
    assert client.connection.token_file == settings.token_file


def test_a_local_platform_whose_processes_are_gone_is_not_waited_for(tmp_path: Path) -> None:
    # A pid that no system hands out: nothing is behind the record any more.
    settings = record(tmp_path / "home", f"http://127.0.0.1:{closed_port()}", 2**22 + 12345)
    naps: list[float] = []

    with pytest.raises(errors.Unavailable, match="cannot be reached"):
        Client(settings=settings, sleep=naps.append).models()

    assert naps == []


def test_without_a_record_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(errors.Unavailable, match="not up") as raised:
        Client(settings=Settings(home=tmp_path))

    assert "genctl up" in raised.value.hint


def test_the_local_token_never_travels_to_another_address(platform: CannedPlatform, tmp_path: Path) -> None:
    settings = record(tmp_path / "home", "http://127.0.0.1:1", os.getpid())

    with pytest.raises(errors.Unauthorized):
        Client(platform.url, settings=settings).models()

    assert "authorization" not in platform.asked[0].headers


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    platform: CannedPlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port()}")
    platform.on("GET /api/v1/models", {"models": []})

    assert client_of(platform, tmp_path, patience=0.0).models() == []


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x", "http://", "http://x:99999", "http://a\x1bb"])
def test_an_address_that_is_none_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(errors.SettingsError, match="URL"):
        Client(url, TOKEN, Settings(home=tmp_path))


def test_a_key_that_cannot_travel_is_refused_without_being_shown(tmp_path: Path) -> None:
    with pytest.raises(errors.SettingsError) as raised:
        Client("http://127.0.0.1:1", "secret\nkey", Settings(home=tmp_path))

    assert "secret" not in str(raised.value)
