"""What is in the way is said in two lines, with exit code 3, and nothing is left running."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest
from local_home import LocalHome

from genplatform import __main__ as entry
from genplatform import settings as surroundings
from genplatform.errors import LocalPlatformError
from genplatform.local import home, lifecycle, ports, ray_head


def test_a_home_below_a_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GENCTL_HOME", str(tmp_path / "file" / "home"))

    code = entry.main(["up"])

    error = capsys.readouterr().err.splitlines()
    assert code == 3
    assert len(error) == 2
    assert str(tmp_path / "file") in error[0]
    assert "GENCTL_HOME" in error[1]


def test_a_redis_url_that_nobody_answers_on_is_refused_without_its_password(
    local_home: LocalHome, taken_port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    free = ports.choose(["nobody"], local_home.settings.home / "p.json")["nobody"]
    monkeypatch.setenv("GENCTL_REDIS_URL", f"redis://me:hunter2@127.0.0.1:{free}/0")

    code = entry.main(["up"])

    error = capsys.readouterr().err
    assert code == 3
    assert f"redis://me:***@127.0.0.1:{free}/0" in error
    assert "hunter2" not in error
    assert local_home.alive() == []


def test_a_redis_url_of_no_known_kind_is_refused(
    local_home: LocalHome, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GENCTL_REDIS_URL", "http://somewhere")

    code = entry.main(["up"])

    assert code == 3
    assert "GENCTL_REDIS_URL" in capsys.readouterr().err


def test_a_ray_address_that_nobody_answers_on_is_refused(local_home: LocalHome, taken_port: int) -> None:
    free = ports.choose(["nobody"], local_home.settings.home / "p.json")["nobody"]
    named = surroundings.load({"GENCTL_HOME": str(local_home.settings.home), "GENCTL_RAY_ADDRESS": f"127.0.0.1:{free}"})

    with pytest.raises(LocalPlatformError, match=f"127.0.0.1:{free}"):
        lifecycle.check_surroundings(named)


def test_a_port_in_use_is_named(local_home: LocalHome, taken_port: int) -> None:
    with pytest.raises(LocalPlatformError, match=f"Port {taken_port} .* in use") as raised:
        local_home.up(port=taken_port)

    assert raised.value.exit_code == 3
    assert "--port" in raised.value.hint
    assert local_home.alive() == []


def test_an_asked_port_is_used(local_home: LocalHome) -> None:
    free = ports.choose(["mine"], local_home.settings.home / "p.json")["mine"]

    assert local_home.up(port=free)["url"] == f"http://127.0.0.1:{free}"


def test_another_port_than_the_one_it_is_up_at_is_refused(local_home: LocalHome, taken_port: int) -> None:
    url = local_home.up()["url"]

    with pytest.raises(LocalPlatformError, match=url):
        local_home.up(port=taken_port)

    assert local_home.document()["state"] == "up"


def test_a_kept_port_that_is_taken_is_replaced(tmp_path: Path, taken_port: int) -> None:
    file = tmp_path / "ports.json"
    file.write_text(f'{{"api": {taken_port}}}')

    chosen = ports.choose(["api", "ray"], file)

    assert chosen["api"] != taken_port
    assert chosen["api"] != chosen["ray"]
    assert ports.choose(["api", "ray"], file) == chosen


def test_a_runtime_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(LocalPlatformError, match="not a folder of your own"):
        home.prepare_runtime(tmp_path / "run")


def test_an_open_runtime_folder_of_ours_is_made_private(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o755)

    home.prepare_runtime(tmp_path / "run")

    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700


def test_a_token_that_is_there_is_kept_and_made_private(local_home: LocalHome) -> None:
    local_home.settings.token_file.write_text("chosen-by-hand\n")
    local_home.settings.token_file.chmod(0o644)

    home.prepare(local_home.settings)

    assert local_home.settings.token() == "chosen-by-hand"
    assert local_home.settings.token_file.stat().st_mode & 0o777 == 0o600


def test_a_copied_home_does_not_take_the_originals_processes_for_its_own(make_home: Callable[..., LocalHome]) -> None:
    original, copy = make_home(name="original"), make_home(name="copy")
    original.up()
    (copy.settings.home / "supervisor.lock").write_bytes((original.settings.home / "supervisor.lock").read_bytes())

    copy.down()

    assert len(original.alive()) == 3


@pytest.mark.parametrize(("cores", "told"), [(1, 4), (2, 4), (8, 16)])
def test_ray_is_told_of_more_cpus_than_there_are(cores: int, told: int) -> None:
    assert ray_head.logical_cpus(cores) == told


def test_the_parser_knows_every_process_of_the_platform() -> None:
    parse = entry._parser().parse_args

    assert parse(["api", "--port", "1"]).host == "127.0.0.1"
    assert parse(["dispatcher", "--api-url", "http://x"]).api_url == "http://x"
    assert parse(["db", "upgrade"]).action == "upgrade"
    assert isinstance(parse(["down"]), argparse.Namespace)
