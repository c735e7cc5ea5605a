"""status believes only the living, and the API's word over the supervisor's; doctor names what is missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from local_home import API, LocalHome, api_row, python

from genplatform import __main__ as entry
from genplatform.local import ports
from genplatform.local.status import ORDER, status


def api_that_says(parts: list[dict[str, Any]]) -> dict[str, Any]:
    code = API.replace('"parts": []', f'"parts": {parts!r}')
    return {"name": "api", "argv": python(code, "{port}"), "serves": True}


def run_json(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, dict[str, Any]]:
    code = entry.main([*argv, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_the_status_of_a_home_that_never_was_up_is_down(
    local_home: LocalHome, capsys: pytest.CaptureFixture[str]
) -> None:
    code, document = run_json(capsys, "status")

    assert code == 0
    assert document["state"] == "down"
    assert document["url"] is None
    assert [part["name"] for part in document["parts"]] == list(ORDER)
    assert "genctl up" in document["parts"][0]["hint"]


def test_the_status_when_up_has_every_part_in_the_promised_shape(
    local_home: LocalHome, capsys: pytest.CaptureFixture[str]
) -> None:
    up = local_home.up()

    code, document = run_json(capsys, "status")

    assert code == 0
    assert (document["state"], document["url"]) == ("up", up["url"])
    for part in document["parts"]:
        assert set(part) == {"name", "state", "pid", "detail", "hint"}


def test_a_part_that_the_api_cannot_use_is_not_up(make_home: Callable[..., LocalHome]) -> None:
    said = {"name": "catalog", "state": "down", "detail": "the disk is full", "hint": "Free some space."}
    local_home = make_home(api_that_says([said]))
    local_home.up()

    document = status(local_home.settings)

    assert document["state"] == "degraded"
    assert {"pid": None, **said} in document["parts"]


def test_the_status_for_people_fits_and_strips_control_characters(
    make_home: Callable[..., LocalHome], capsys: pytest.CaptureFixture[str]
) -> None:
    said = {"name": "store", "state": "down", "detail": "bad \x1b[31m[bold]name", "hint": "Do \x07this."}
    make_home(api_that_says([said])).up()

    assert entry.main(["status"]) == 0

    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "[bold]" in out


def test_doctor_finds_nothing_wrong_with_a_good_home(local_home: LocalHome, capsys: pytest.CaptureFixture[str]) -> None:
    _, document = run_json(capsys, "doctor")

    checks = {check["name"]: check for check in document["checks"]}
    assert set(checks) == {
        "python", "home", "disk", "memory", "runtime", "redis", "ray", "database", "port", "files", "clock",
    }  # fmt: skip
    for name in ("python", "home", "runtime", "redis", "ray", "database", "port", "clock"):
        assert checks[name]["ok"], checks[name]
        assert checks[name]["hint"] == ""


def test_doctor_names_a_redis_a_ray_and_a_database_that_do_not_answer(
    local_home: LocalHome, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = ports.choose(["a", "b", "c"], local_home.settings.home / "p.json")
    monkeypatch.setenv("GENCTL_REDIS_URL", f"redis://:secret@127.0.0.1:{chosen['a']}")
    monkeypatch.setenv("GENCTL_RAY_ADDRESS", f"127.0.0.1:{chosen['b']}")
    monkeypatch.setenv("GENCTL_DATABASE_URL", f"postgresql+psycopg://me:secret@127.0.0.1:{chosen['c']}/genctl")

    code, document = run_json(capsys, "doctor")

    failed = {check["name"]: check for check in document["checks"] if not check["ok"]}
    assert code == 3
    assert {"redis", "ray", "database"} <= set(failed)
    assert all(failed[name]["hint"] for name in ("redis", "ray", "database"))
    assert "secret" not in json.dumps(document)


def test_doctor_finds_a_home_that_cannot_be_made(
    local_home: LocalHome, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = local_home.settings.home / "file"
    file.touch()
    monkeypatch.setenv("GENCTL_HOME", str(file / "home"))

    code, document = run_json(capsys, "doctor")

    home = next(check for check in document["checks"] if check["name"] == "home")
    assert code == 3
    assert not home["ok"]
    assert "GENCTL_HOME" in home["hint"]


def test_doctor_finds_a_catalog_that_is_no_database(local_home: LocalHome, capsys: pytest.CaptureFixture[str]) -> None:
    (local_home.settings.home / "catalog.db").write_bytes(b"not a database at all, far from it" * 100)

    code, document = run_json(capsys, "doctor")

    database = next(check for check in document["checks"] if check["name"] == "database")
    assert code == 3
    assert not database["ok"]


def test_doctor_knows_its_own_port(local_home: LocalHome, capsys: pytest.CaptureFixture[str]) -> None:
    port = local_home.up()["url"].rpartition(":")[2]

    _, document = run_json(capsys, "doctor")

    check = next(check for check in document["checks"] if check["name"] == "port")
    assert check["ok"]
    assert port in check["message"]


def test_a_remote_platform_that_does_not_answer_is_down(
    local_home: LocalHome, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    free = ports.choose(["nobody"], local_home.settings.home / "p.json")["nobody"]
    monkeypatch.setenv("GENCTL_URL", f"http://127.0.0.1:{free}")

    code, document = run_json(capsys, "status")

    assert code == 3
    assert document["state"] == "down"
    assert "GENCTL_URL" in document["parts"][0]["hint"]


def test_api_row_is_what_up_waits_for(local_home: LocalHome) -> None:
    local_home.tabulate([api_row()])

    assert [part["name"] for part in local_home.up()["parts"]] == ["supervisor", "api"]
