"""up starts everything once and tells where it is; down leaves nothing; both heal what a kill left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable

import psutil
import pytest
from local_home import DEAF, PARENT, LocalHome, api_row, eventually, row
from together import together

from genplatform.errors import LocalPlatformError
from genplatform.local import processes
from genplatform.local.status import status


def mode(path: os.PathLike[str]) -> int:
    return os.stat(path).st_mode & 0o777


def names(document: dict[str, list[dict[str, str]]]) -> set[str]:
    return {part["name"] for part in document["parts"]}


def test_up_brings_every_part_up_and_keeps_secrets_private(local_home: LocalHome) -> None:
    document = local_home.up()

    assert names(document) == {"supervisor", "api", "dispatcher"}
    assert {part["state"] for part in document["parts"]} == {"up"}
    assert mode(local_home.settings.token_file) == 0o600
    assert len(local_home.settings.token()) >= 22  # 128 bits in base 64
    assert mode(local_home.settings.runtime_dir) == 0o700
    assert any("dispatcher" in line for line in local_home.said)


def test_every_process_knows_its_home_and_carries_the_mark(local_home: LocalHome) -> None:
    document = local_home.up()

    for part in document["parts"]:
        environment = psutil.Process(part["pid"]).environ()
        assert environment["GENCTL_HOME"] == str(local_home.settings.home)
        assert environment[processes.MARK] == document["instance"]


def test_a_second_up_changes_nothing(local_home: LocalHome) -> None:
    first = local_home.up()

    second = local_home.up()

    assert second == first
    assert local_home.said[-1] == "The platform is already up."


def test_two_ups_at_the_same_moment_make_one_platform(local_home: LocalHome) -> None:
    first, second = together([local_home.up, local_home.up])

    assert first["parts"] == second["parts"]
    supervisors = [p for p in local_home.alive() if p.environ().get(processes.PART) == "supervisor"]
    assert len(supervisors) == 1


def test_down_leaves_no_process_and_no_trace(make_home: Callable[..., LocalHome]) -> None:
    local_home = make_home(api_row(), row("dispatcher", PARENT, stop_turn=0), row("deaf", DEAF))
    document = local_home.up()
    sessions = [part["pid"] for part in document["parts"]]
    eventually(lambda: len(processes.of_session(local_home.pid("dispatcher"))) == 2)

    assert local_home.down()

    assert processes.marked(document["instance"], sessions) == []
    assert [process for session in sessions for process in processes.of_session(session)] == []
    assert not local_home.settings.platform_file.exists()
    assert not local_home.settings.runtime_dir.exists()


def test_down_stops_the_dispatcher_first(make_home: Callable[..., LocalHome]) -> None:
    drains = """
import signal, sys, urllib.request
def drain(*_):
    urllib.request.urlopen(sys.argv[1], timeout=5)
    open("drained", "w").close()
    sys.exit()
signal.signal(signal.SIGTERM, drain)
open("ready", "w").close()
while True:
    signal.pause()
"""
    dispatcher = row("dispatcher", drains, needs=["api"], stop_turn=0, stop_seconds=20.0)
    dispatcher["argv"] += ["http://127.0.0.1:{port}/"]
    local_home = make_home(api_row(), dispatcher)
    local_home.up()
    eventually((local_home.settings.home / "ready").exists)

    local_home.down()

    assert (local_home.settings.home / "drained").exists()


def test_down_when_nothing_is_up_says_so(local_home: LocalHome) -> None:
    assert not local_home.down()


def test_down_spares_a_process_that_only_shares_the_home(local_home: LocalHome) -> None:
    """A person's shell may carry GENCTL_HOME, too."""
    environment = {"GENCTL_HOME": str(local_home.settings.home)}
    with subprocess.Popen([sys.executable, "-c", "input()"], env=environment, stdin=subprocess.PIPE) as bystander:
        local_home.up()

        local_home.down()

        assert bystander.poll() is None


def test_the_url_stays_the_same_from_one_up_to_the_next(local_home: LocalHome) -> None:
    first = local_home.up()["url"]
    local_home.down()

    assert local_home.up()["url"] == first


def test_a_stale_platform_file_heals_and_its_pids_are_not_believed(local_home: LocalHome) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True) as stranger:
        stale = [{"name": name, "pid": stranger.pid, "state": "up"} for name in ("supervisor", "api")]
        local_home.settings.platform_file.write_text(
            f'{{"url": "http://127.0.0.1:1", "state": "up", "instance": "x", "parts": {stale!r}}}'.replace("'", '"')
        )
        assert status(local_home.settings)["state"] == "down"

        document = local_home.up()

        assert stranger.poll() is None
        assert local_home.pid("supervisor") != stranger.pid
        assert document["state"] == "up"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_killed_supervisor_takes_its_parts_with_it(local_home: LocalHome) -> None:
    local_home.up()

    local_home.kill("supervisor")

    eventually(lambda: not local_home.alive())
    found = status(local_home.settings)
    assert found["state"] == "down"
    assert "genctl up" in found["parts"][0]["hint"]


def test_up_heals_what_a_killed_supervisor_left(make_home: Callable[..., LocalHome]) -> None:
    local_home = make_home(api_row(), row("deaf", DEAF))
    before = local_home.up()
    orphan = local_home.pid("deaf")
    local_home.kill("supervisor")
    eventually(lambda: not processes.carries(before["parts"][0]["pid"], before["instance"]))
    assert processes.carries(orphan, before["instance"])

    after = local_home.up()

    assert not processes.carries(orphan, before["instance"])
    assert after["state"] == "up"
    assert any("Ended" in line for line in local_home.said)


def test_down_cleans_up_after_a_killed_supervisor(make_home: Callable[..., LocalHome]) -> None:
    local_home = make_home(api_row(), row("deaf", DEAF))
    local_home.up()
    local_home.kill("supervisor")
    eventually(lambda: len(local_home.alive()) < 3)

    assert local_home.down()

    assert local_home.alive() == []
    assert not local_home.settings.platform_file.exists()


def test_two_homes_live_side_by_side(make_home: Callable[..., LocalHome]) -> None:
    redis = {"name": "redis", "real": True}
    one = make_home(redis, api_row(), name="one")
    other = make_home(redis, api_row(), name="other")
    one.up()
    before = other.up()
    assert before["url"] != one.document()["url"]

    one.down()

    assert one.alive() == []
    assert {process.pid for process in other.alive()} == {part["pid"] for part in before["parts"]}


def test_a_home_on_a_long_path_with_a_space_works(make_home: Callable[..., LocalHome]) -> None:
    local_home = make_home({"name": "redis", "real": True}, api_row(), name="a b" + "c" * 150)

    assert local_home.up()["state"] == "up"


def test_a_removed_home_ends_its_platform(local_home: LocalHome) -> None:
    document = local_home.up()
    supervisor = psutil.Process(local_home.pid("supervisor"))

    local_home.settings.home.rename(local_home.settings.home.with_name("moved"))

    eventually(lambda: not supervisor.is_running() or supervisor.status() == psutil.STATUS_ZOMBIE)
    assert processes.marked(document["instance"]) == []


def test_a_part_that_cannot_start_fails_the_up_with_its_last_words(make_home: Callable[..., LocalHome]) -> None:
    broken = row("dispatcher", "raise SystemExit('no such queue: gold')", deaths=2, never_ready=True)
    local_home = make_home(api_row(), broken)

    with pytest.raises(LocalPlatformError) as raised:
        local_home.up()

    assert "dispatcher does not start" in raised.value.message
    assert "no such queue: gold" in raised.value.message
    assert str(local_home.settings.logs) in raised.value.hint
    assert raised.value.exit_code == 3
    assert local_home.alive() == []


def test_a_down_during_an_up_ends_both(make_home: Callable[..., LocalHome]) -> None:
    never = row("dispatcher", stop_turn=0, needs=["what never comes"])
    local_home = make_home(api_row(), never)

    def down_when_begun() -> str:
        eventually(lambda: local_home.part("api").get("state") == "up")
        return f"found: {local_home.down()}"

    def up() -> str:
        with pytest.raises(LocalPlatformError) as raised:
            local_home.up()
        return raised.value.message

    message, found = together([up, down_when_begun])

    assert "ended before the platform was up" in message
    assert found == "found: True"
    assert local_home.alive() == []


def test_the_supervisor_stops_cleanly_on_a_plain_term(local_home: LocalHome) -> None:
    local_home.up()

    os.kill(local_home.pid("supervisor"), signal.SIGTERM)

    eventually(lambda: not local_home.alive())
    assert not local_home.settings.platform_file.exists()
