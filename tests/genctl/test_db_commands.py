"""`genctl db` as a stranger types it: in a home of its own, from nothing to a restored record, with no platform up."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from lived_record import live
from small_platform import SmallPlatform

from genplatform import settings as surroundings
from genplatform.catalog import Catalog, migrate
from genplatform.local import home

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def genctl(place: Path) -> Run:
    """Run a command line in the home `place`, or in what the keywords name."""

    def run(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GENCTL_")}
        return subprocess.run(
            [sys.executable, "-m", "genctl", *words],
            capture_output=True,
            text=True,
            env=kept | {"GENCTL_HOME": str(place)} | env,
            timeout=90,
            check=False,
            cwd=place.parent,
        )

    return run


@pytest.fixture
def lived(place: Path) -> dict[str, str]:
    """A record with everything in it, in the home."""
    place.mkdir()
    url = f"sqlite:///{place / 'catalog.db'}"
    migrate.upgrade(url)
    p = SmallPlatform(url, place)
    ids = live(p)
    p.close()
    return ids


def document(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_a_record_is_made_backed_up_moved_and_checked(genctl: Run, lived: dict[str, str], place: Path) -> None:
    other = place.parent / "other"

    upgraded = genctl("db", "upgrade")
    backed_up = genctl("db", "backup", "my backup.gz")
    again = genctl("db", "backup", "my backup.gz")
    restored = genctl("db", "restore", "my backup.gz", GENCTL_HOME=str(other))
    sound = genctl("db", "verify", "--deep", GENCTL_HOME=str(other), GENCTL_STORE_URL=(place / "store").as_uri())
    second = genctl("db", "restore", "my backup.gz", GENCTL_HOME=str(other))

    assert [d.returncode for d in (upgraded, backed_up, again, restored, sound, second)] == [0, 0, 2, 0, 0, 2]
    assert f"is at revision {migrate.head()} already" in upgraded.stdout
    assert "13 jobs" in backed_up.stdout
    assert f"they stay in the store at {(place / 'store').as_uri()}" in backed_up.stdout
    assert "exists already" in again.stderr
    assert "13 jobs" in restored.stdout
    assert sound.stdout == "The record is sound.\n"
    assert "holds a record already" in second.stderr
    assert (other / "token").exists()


def test_programs_get_json(genctl: Run, lived: dict[str, str], place: Path) -> None:
    into = f"sqlite:///{place.parent / 'into.db'}"

    upgraded = document(genctl("db", "upgrade", "--json"))
    backed_up = document(genctl("db", "backup", "b.gz", "--json"))
    restored = document(genctl("db", "restore", "b.gz", "--into", into, "--json"))
    verified = document(genctl("db", "verify", "--json"))
    pruned = document(genctl("db", "prune", "--older-than", "1d", "--dry-run", "--json"))

    assert upgraded["from"] == upgraded["to"] == backed_up["revision"] == restored["to"]
    assert backed_up["file"] == str(place.parent / "b.gz")
    assert backed_up["rows"]["jobs"] == restored["rows"]["jobs"] == 13
    assert backed_up["not_included"]["objects"] == 7
    assert restored["database"] == into
    assert verified == {"ok": True, "problems": []}
    assert (pruned["dry_run"], pruned["jobs"]) == (True, 0)


def test_what_is_wrong_with_a_record_is_printed_and_ends_in_1(genctl: Run, lived: dict[str, str], place: Path) -> None:
    catalog = Catalog(f"sqlite:///{place / 'catalog.db'}")
    with catalog.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE jobs SET run = 7, wish = 'fly\x1b[2J' WHERE name = 'queued'")
    catalog.close()

    said, told = genctl("db", "verify"), genctl("db", "verify", "--json")

    assert (said.returncode, told.returncode) == (1, 1)
    assert f"run_numbers: default/{lived['queued']} It counts 7 runs, and has 0" in said.stdout
    assert said.stdout.endswith("2 problems.\n")
    assert "\x1b" not in said.stdout
    assert [p["law"] for p in document(told)["problems"]] == ["job_wish", "run_numbers"]


def test_old_jobs_are_pruned_with_their_files(genctl: Run, lived: dict[str, str], place: Path) -> None:
    catalog = Catalog(f"sqlite:///{place / 'catalog.db'}")
    with catalog.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE jobs SET finished_at = 1e9 WHERE finished_at IS NOT NULL")
    catalog.close()

    said = genctl("db", "prune", "--older-than", "30d", "--files", "--dry-run")
    done = genctl("db", "prune", "--older-than", "30d", "--files")
    sound = genctl("db", "verify", "--deep")

    assert said.stdout.startswith("Would remove 5 jobs that ended before ")
    assert done.stdout.startswith("Removed 5 jobs that ended before ")
    assert "Removed their files in the store: 2 folders." in done.stdout
    assert (place / "store" / "models").is_dir()
    assert sound.stdout == "The record is sound.\n"


@pytest.mark.parametrize("age", ["soon", "30", "-1d", "1w", ""])
def test_an_age_that_is_none_is_refused(genctl: Run, lived: dict[str, str], age: str) -> None:
    done = genctl("db", "prune", f"--older-than={age}")

    assert done.returncode == 2
    assert "is no age" in done.stderr


def test_a_platform_elsewhere_is_looked_after_where_it_is(genctl: Run) -> None:
    for words in (("upgrade",), ("backup", "x"), ("restore", "x"), ("verify",), ("prune", "--older-than", "1d")):
        done = genctl("db", *words, GENCTL_URL="https://platform.example")

        assert done.returncode == 3
        assert "GENCTL_URL is https://platform.example" in done.stderr
        assert "where that platform runs" in done.stderr


def test_where_there_is_no_record_none_is_made(genctl: Run, place: Path) -> None:
    for words in (("backup", "x"), ("verify",), ("prune", "--older-than", "1d")):
        done = genctl("db", *words)

        assert done.returncode == 2
        assert f"There is no catalog at {place / 'catalog.db'}" in done.stderr
    assert not place.exists()


def test_an_upgrade_makes_a_record_and_the_home_that_it_lies_in(genctl: Run, place: Path) -> None:
    made, sound = genctl("db", "upgrade"), genctl("db", "verify")

    assert made.stdout == f"The catalog at sqlite:///{place / 'catalog.db'} was made at revision {migrate.head()}.\n"
    assert sound.stdout == "The record is sound.\n"
    assert place.stat().st_mode & 0o777 == 0o700


def test_nothing_is_restored_under_a_platform_that_is_up(genctl: Run, lived: dict[str, str], place: Path) -> None:
    other = place.parent / "other"
    genctl("db", "backup", "b.gz")
    its = surroundings.load({"GENCTL_HOME": str(other)})
    home.prepare(its)

    with ExitStack() as held:
        lock = home.try_lock(its)
        assert lock is not None
        held.callback(lock.close)
        here = genctl("db", "restore", "b.gz", GENCTL_HOME=str(other))
        into = genctl("db", "restore", "b.gz", "--into", f"sqlite:///{other / 'catalog.db'}")

    assert (here.returncode, into.returncode) == (2, 2)
    assert f"The platform of {other} is up." in here.stderr
    assert f"The platform of {other} is up." in into.stderr
    assert not (other / "catalog.db").exists()


def test_a_restore_forgets_what_the_homes_redis_knew_of_the_record_before(
    genctl: Run, lived: dict[str, str], place: Path
) -> None:
    genctl("db", "backup", "b.gz")
    (place / "catalog.db").unlink()
    (place / "redis").mkdir(exist_ok=True)
    (place / "redis" / "appendonly.aof").write_bytes(b"hints of then")

    done = genctl("db", "restore", "b.gz")

    assert done.returncode == 0
    assert not (place / "redis" / "appendonly.aof").exists()


def test_a_damaged_backup_is_refused_and_nothing_is_made(genctl: Run, lived: dict[str, str], place: Path) -> None:
    genctl("db", "backup", "b.gz")
    data = bytearray((place.parent / "b.gz").read_bytes())
    data[random.Random(7).randrange(100, len(data))] ^= 4
    (place.parent / "b.gz").write_bytes(data)
    other = place.parent / "other"

    done = genctl("db", "restore", "b.gz", GENCTL_HOME=str(other))

    assert done.returncode == 2
    assert "not a whole backup" in done.stderr
    assert not (other / "catalog.db").exists()


def test_a_file_may_begin_like_a_flag(genctl: Run, lived: dict[str, str], place: Path) -> None:
    assert genctl("db", "backup", "--", "-b.gz").returncode == 0
    assert (place.parent / "-b.gz").exists()
