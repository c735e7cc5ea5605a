"""The API over a SQLite file that is locked by another process, on a disk that is full, or on one that is read-only."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from api_process import TOKEN, ApiProcess
from local_home import eventually
from real_api import api_owner, make_api, redis_server
from small_disk import NotPermitted, SmallDisk
from small_platform import train

from genctl import client as genctl_client
from genctl.main import main
from genplatform.catalog import migrate
from genplatform.errors import Unavailable

__all__ = ["api_owner", "make_api", "redis_server"]  # fixtures, found by their names

Make = Callable[..., ApiProcess]
Record = Callable[[str, object], None]

HOLD = """
import sqlite3, sys
held = sqlite3.connect(sys.argv[1], isolation_level=None)
held.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""
NO_CATALOG = {"status": 503, "catalog": False, "redis": True, "store": True}
ALL_WELL = {"status": 200, "catalog": True, "redis": True, "store": True}


@contextmanager
def locked_by_another(file: Path) -> Iterator[None]:
    """Let another process hold the file's write lock; it ends when its standard input does."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield
    finally:
        holder.communicate(timeout=20)


def contents(file: Path) -> list[str]:
    """Return all that is in the database."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as reading:
        return list(reading.iterdump())


def asks(pid: int, port: int) -> bool:
    """Tell whether a process has a connection to that port of this machine."""
    return any(one.raddr and one.raddr.port == port for one in psutil.Process(pid).net_connections("tcp4"))


def sound(file: Path) -> bool:
    """Tell whether SQLite finds nothing wrong in the file."""
    with closing(sqlite3.connect(file)) as reading:
        return [row[0] for row in reading.execute("PRAGMA integrity_check")] == ["ok"]


def test_a_submit_waits_for_a_lock_that_is_held_for_a_while(
    make_api: Make, sqlite_url: str, tmp_path: Path, record_property: Record
) -> None:
    api = make_api(sqlite_url)
    api.start()

    with locked_by_another(tmp_path / "catalog.db"):
        typed = api.type("submit", "-", "--json", stdin=train("late"))
        eventually(lambda: asks(typed.pid, api.port))
        during = api.ready()  # this, too, waits for a while
        record_property("locked_at", {"jobs_then": len(api.rows())})
        still_asks = asks(typed.pid, api.port)
        none_yet = api.rows() == []
    out, err = typed.communicate(timeout=60)

    assert during == NO_CATALOG
    assert still_asks
    assert none_yet
    assert typed.returncode == 0, err
    assert [row.job_id in out for row in api.rows()] == [True]
    assert api.ready() == ALL_WELL


def test_a_submit_is_refused_when_the_lock_is_held_for_too_long(
    make_api: Make,
    sqlite_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    record_property: Record,
) -> None:
    api = make_api(sqlite_url, busy_seconds=0.5)
    api.start()
    file = tmp_path / "job.yaml"
    file.write_text(train("refused"))
    for name, value in (("HOME", str(api.home)), ("URL", api.url), ("API_KEY", TOKEN)):
        monkeypatch.setenv(f"GENCTL_{name}", value)
    given = genctl_client.Client.__init__.__kwdefaults__
    monkeypatch.setattr(genctl_client.Client.__init__, "__kwdefaults__", {**(given or {}), "patience": 0.0})
    before = contents(tmp_path / "catalog.db")

    with locked_by_another(tmp_path / "catalog.db"):
        answer = httpx.post(
            f"{api.url}/api/v1/jobs",
            content=train("refused"),
            headers={"Authorization": f"Bearer {TOKEN}", "Idempotency-Key": "k"},
            trust_env=False,
        )
        code = main(["submit", str(file), "--detach"])
        said = capsys.readouterr()
        during = api.ready()
    after = contents(tmp_path / "catalog.db")
    record_property("locked_at", {"jobs_then": 0, "answer": answer.json()})

    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert str(tmp_path / "catalog.db") in answer.json()["detail"]
    assert "end it, then try again" in answer.json()["hint"]
    assert (code, said.out) == (3, "")
    assert str(tmp_path / "catalog.db") in said.err
    assert during == NO_CATALOG
    assert after == before
    assert main(["submit", str(file), "--detach"]) == 0
    assert [row.name for row in api.rows()] == ["refused"]
    assert api.ready() == ALL_WELL


@pytest.fixture
def small_disk() -> Iterator[SmallDisk]:
    """A disk of a few megabytes."""
    disk = SmallDisk(megabytes=4)
    try:
        with disk:
            yield disk
    except NotPermitted as reason:
        pytest.skip(f"no small disk can be had here: {reason}")


@pytest.fixture
def on_small_disk(make_api: Make, small_disk: SmallDisk) -> ApiProcess:
    """An API whose whole home lies on the small disk."""
    home = small_disk.folder / "home"
    home.mkdir()
    migrate.upgrade(f"sqlite:///{home / 'catalog.db'}")
    return make_api(home=home)


def test_a_submit_is_refused_while_the_disk_is_full_and_what_was_acknowledged_stays(
    on_small_disk: ApiProcess, small_disk: SmallDisk, record_property: Record
) -> None:
    api, file = on_small_disk, on_small_disk.home / "catalog.db"
    api.start()
    acknowledged: list[str] = []

    def submit(patience: float = 60.0) -> None:
        with api.client(patience=patience) as client:
            acknowledged.extend(job["id"] for job in client.submit(train(f"j{len(acknowledged)}")))

    def submit_until_refused() -> None:
        for _ in range(1000):
            submit(patience=0.0)

    for _ in range(5):
        submit()
    small_disk.fill()
    with pytest.raises(Unavailable, match="disk is full") as refused:
        submit_until_refused()
    record_property("full_at", {"jobs_then": len(acknowledged)})
    small_disk.fill()
    during, sound_then = api.ready(), sound(file)
    api.kill()
    small_disk.free()
    api.start()
    afterwards = {row.job_id for row in api.rows()}
    submit()

    assert str(file) in refused.value.message
    assert "Free some space" in refused.value.hint
    assert (during["status"], during["catalog"], during["store"]) == (503, False, False)
    assert afterwards == set(acknowledged[:-1])
    assert {row.job_id for row in api.rows()} == set(acknowledged)
    assert sound_then
    assert sound(file)
    assert api.ready() == ALL_WELL


def test_an_api_goes_on_by_itself_once_a_full_disk_has_room_again(
    on_small_disk: ApiProcess, small_disk: SmallDisk, record_property: Record
) -> None:
    api = on_small_disk
    api.start()
    small_disk.fill()
    refused: list[int] = []

    def make_room(_seconds: float) -> None:
        if not refused:
            small_disk.free()
        refused.append(len(api.rows()))

    with api.client(sleep=make_room) as client:
        (job,) = client.submit(train("patient"))
    record_property("full_at", {"jobs_then": refused})

    assert refused == [0]
    assert [row.job_id for row in api.rows()] == [job["id"]]
    assert api.ready() == ALL_WELL


def test_an_api_on_a_read_only_disk_says_so_and_goes_on_by_itself_once_it_can_write(
    on_small_disk: ApiProcess, small_disk: SmallDisk
) -> None:
    api = on_small_disk
    api.start()
    with api.client() as client:
        (before,) = client.submit(train("before"))
        api.kill()
        small_disk.remount("ro")
        api.start()
        for _ in range(3):
            with api.client(patience=0.0) as hasty, pytest.raises(Unavailable, match="readonly") as refused:
                hasty.submit(train("refused"))
        during = api.ready()
        small_disk.remount("rw")
        (after,) = client.submit(train("after"))

    assert "read-only" in refused.value.hint
    assert (during["status"], during["catalog"], during["store"]) == (503, False, False)
    assert {row.job_id for row in api.rows()} == {before["id"], after["id"]}
    assert api.ready() == ALL_WELL
