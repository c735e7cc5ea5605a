"""A part that dies is started again, with what it left ended first; one that keeps dying is shown as failed."""

from __future__ import annotations

from collections.abc import Callable

import redis
from local_home import PARENT, LocalHome, api_row, eventually, row

from genplatform.local import probes, processes
from genplatform.local.status import status


def restarted(local_home: LocalHome, name: str, times: int = 1) -> bool:
    part = local_home.part(name)
    return bool(part) and part["restarts"] == times and part["state"] == "up"


def test_a_killed_part_is_started_again_and_the_others_are_left_alone(local_home: LocalHome) -> None:
    before = local_home.up()
    api = local_home.pid("api")

    dead = local_home.kill("dispatcher")
    eventually(lambda: restarted(local_home, "dispatcher"))

    assert local_home.pid("dispatcher") != dead
    assert local_home.pid("api") == api
    assert "SIGKILL" in local_home.part("dispatcher")["detail"]
    assert local_home.document()["url"] == before["url"]


def test_a_killed_api_comes_back_at_the_same_address(local_home: LocalHome) -> None:
    url = local_home.up()["url"]

    local_home.kill("api")
    eventually(lambda: restarted(local_home, "api"))

    assert probes.http_ok(f"{url}/readyz")


def test_what_a_dead_part_left_is_ended_before_it_starts_again(make_home: Callable[..., LocalHome]) -> None:
    local_home = make_home(api_row(), row("ray", PARENT))
    local_home.up()
    session = local_home.pid("ray")
    eventually(lambda: len(processes.of_session(session)) == 2)

    local_home.kill("ray")
    eventually(lambda: restarted(local_home, "ray"))

    assert processes.of_session(session) == []


def test_a_killed_redis_comes_back_with_its_data(make_home: Callable[..., LocalHome]) -> None:
    local_home = make_home({"name": "redis", "real": True}, api_row())
    local_home.up()
    client = redis.Redis.from_url(local_home.settings.redis)
    client.set("kept", "yes")

    local_home.kill("redis")
    eventually(lambda: restarted(local_home, "redis"))

    assert client.get("kept") == b"yes"
    client.close()


def test_redis_listens_on_no_port_and_on_a_private_socket(make_home: Callable[..., LocalHome]) -> None:
    local_home = make_home({"name": "redis", "real": True}, api_row())

    local_home.up()

    with redis.Redis.from_url(local_home.settings.redis) as client:
        assert client.config_get("port")["port"] == "0"
        assert client.config_get("appendonly")["appendonly"] == "yes"
    sock = local_home.settings.runtime_dir / "redis.sock"
    assert sock.stat().st_mode & 0o077 == 0


def test_a_part_that_keeps_dying_is_shown_as_failed_with_its_last_words(make_home: Callable[..., LocalHome]) -> None:
    breaks = "import os, signal\nif os.path.exists('broken'): raise SystemExit('the disk is full')\nsignal.pause()"
    local_home = make_home(api_row(), row("dispatcher", breaks, deaths=2))
    local_home.up()
    (local_home.settings.home / "broken").touch()

    local_home.kill("dispatcher")
    eventually(lambda: local_home.part("dispatcher")["state"] == "failed")

    found = status(local_home.settings)
    dispatcher = next(part for part in found["parts"] if part["name"] == "dispatcher")
    assert found["state"] == "degraded"
    assert "the disk is full" in dispatcher["detail"]
    assert "dispatcher.log" in dispatcher["hint"]


def test_a_failed_part_heals_when_its_cause_is_gone(make_home: Callable[..., LocalHome]) -> None:
    breaks = "import os, signal\nif os.path.exists('broken'): raise SystemExit('the disk is full')\nsignal.pause()"
    local_home = make_home(api_row(), row("dispatcher", breaks, deaths=2))
    local_home.up()
    (local_home.settings.home / "broken").touch()
    local_home.kill("dispatcher")
    eventually(lambda: local_home.part("dispatcher")["state"] == "failed")

    (local_home.settings.home / "broken").unlink()

    eventually(lambda: local_home.part("dispatcher")["state"] == "up")


def test_a_part_waits_for_what_it_needs(make_home: Callable[..., LocalHome]) -> None:
    looks = "import os, signal\nif not os.path.exists('migrated'): raise SystemExit('too early')\nsignal.pause()"
    catalog = row("catalog", "open('migrated', 'w').close()", once=True)
    local_home = make_home(row("dispatcher", looks, needs=["catalog"]), api_row(), catalog)

    local_home.up()

    assert local_home.part("dispatcher")["restarts"] == 0
    assert local_home.part("catalog")["pid"] is None


def test_a_part_that_hangs_while_starting_is_killed_and_counted(make_home: Callable[..., LocalHome]) -> None:
    slow = "import os, signal\nif os.path.exists('second'): os._exit(0)\nopen('second', 'w').close()\nsignal.pause()"
    catalog = row("catalog", slow, once=True, start_seconds=0.5)
    local_home = make_home(api_row(), catalog)

    local_home.up()

    assert local_home.part("catalog")["restarts"] == 1
    assert "was not ready after" in local_home.part("catalog")["detail"]
