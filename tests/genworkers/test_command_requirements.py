"""What a command's `pip:` asks for: installed once a node, beside what the platform has, and told when it cannot be."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from wheels import make_wheel

from genplatform.store import Store
from genworkers import pip_environments
from genworkers.commanding.actor import CommandActor

Platform = Any  # conftest.FakePlatform, which an importlib-mode test cannot import
Order = Callable[..., dict[str, Any]]
SAYS = "import tiny, numpy, sys; print('tiny says', tiny.WORD, numpy.__name__)"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this node keeps environments."""
    monkeypatch.setenv("GENCTL_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "environments"


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A wheel with one module, `tiny`."""
    return make_wheel(tmp_path, "tiny", "1.0", "WORD = 'hello'\n")


@pytest.fixture
def order(store: Store, platform: Platform, cache: Path) -> Order:
    """Make the order of a Python script that needs something."""

    def make(*pip: str, run: int = 1, script: str = SAYS) -> dict[str, Any]:
        return {
            "tenant": "default",
            "job_id": "j_abc",
            "run": run,
            "name": "c",
            "actor": f"run/default/j_abc/{run}",
            "api_url": platform.url,
            "token": "a-token",
            "store_url": store.url,
            "resume": [],
            "heartbeat_seconds": 0.05,
            "command": ["python", "-c", script],
            "shell": False,
            "env": {},
            "workdir": None,
            "folders": [],
            "pip": list(pip),
            "checkpoint_every": 3600.0,
        }

    return make


def begun(order: dict[str, Any]) -> CommandActor:
    actor = CommandActor(order)
    actor.start()
    return actor


def lines(platform: Platform) -> list[str]:
    return [line["text"] for body in platform.bodies("/progress") for line in body["logs"]]


def installs(platform: Platform) -> int:
    return sum(line.startswith("Successfully installed tiny") for line in lines(platform))


def test_a_command_finds_what_it_asked_for_and_the_next_one_finds_it_built(
    platform: Platform, order: Order, wheel: Path
) -> None:
    needs = f"tiny @ {wheel.as_uri()}"

    ends = [begun(order(needs, run=run)).join() for run in (1, 2)]

    assert ends == ["published", "published"]
    assert [line for line in lines(platform) if "tiny says" in line] == ["tiny says hello numpy"] * 2
    assert installs(platform) == 1


def test_two_that_ask_the_same_at_once_build_it_once(platform: Platform, order: Order, wheel: Path) -> None:
    actors = [begun(order(str(wheel), run=run)) for run in (1, 2)]

    assert [actor.join() for actor in actors] == ["published", "published"]
    assert installs(platform) == 1


def test_what_pip_cannot_install_is_the_jobs_own_fault_and_is_tried_anew_by_the_next(
    platform: Platform, order: Order, wheel: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "later" / wheel.name
    needs = f"tiny @ {elsewhere.as_uri()}"

    first = begun(order(needs)).join()
    elsewhere.parent.mkdir()
    wheel.rename(elsewhere)
    second = begun(order(needs, run=2)).join()

    (told,) = platform.bodies("/failed")
    assert (first, told["cause"], second) == ("failed", "user_error", "published")
    assert told["message"].startswith(f"pip could not install {needs}: it exited with code 1. Its last words:\n")
    assert "No such file or directory" in told["message"]


def test_a_run_that_is_cancelled_while_pip_works_ends_it_and_its_heartbeats_went_on(
    platform: Platform, order: Order, tmp_path: Path, cache: Path
) -> None:
    endless = tmp_path / "tiny-1.0-py3-none-any.whl"
    os.mkfifo(endless)  # whoever reads it waits for good
    actor = begun(order(str(endless)))
    platform.wait_for(lambda: any("Processing" in line for line in lines(platform)))
    before = len(platform.bodies("/heartbeat"))
    platform.wait_for(lambda: len(platform.bodies("/heartbeat")) > before + 2)

    actor.stop("cancel")

    assert actor.join() == "cancelled"
    pips = [p for p in psutil.process_iter(["cmdline"]) if str(endless.parent) in " ".join(p.info["cmdline"] or [])]
    assert pips == []
    assert list(cache.glob(f"*/{pip_environments.WHOLE}")) == []


def test_only_what_nobody_asked_for_in_a_long_time_and_nobody_holds_is_removed(cache: Path) -> None:
    never = threading.Event().is_set

    def made(name: str) -> pip_environments.Environment:
        (cache / name).mkdir(parents=True)
        (cache / name / pip_environments.WHOLE).touch()
        return pip_environments.take(cache, name, (), lambda _: 0, lambda _: never())

    made("young").close()
    held, left = made("held"), made("left")
    left.close()
    for name in ("held", "left"):
        os.utime(cache / f"{name}.lock", (0, 0))

    made("other").close()

    assert sorted(path.name for path in cache.iterdir() if path.is_dir()) == ["held", "other", "young"]
    held.close()


def test_what_was_cut_off_is_built_anew(cache: Path) -> None:
    (cache / "half" / "lib").mkdir(parents=True)
    ran: list[str] = []

    def execute(argv: Any) -> int:
        ran.append(argv[3])
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        (cache / "half" / "lib" / version / "site-packages").mkdir(parents=True, exist_ok=True)
        return 0

    pip_environments.take(cache, "half", ("tiny",), execute, lambda _: False).close()

    assert ran == ["venv", "pip"]
    assert (cache / "half" / pip_environments.WHOLE).exists()
