"""Syncs and writes of the catalog's disk that fail, each in its turn: nothing acknowledged is lost, nothing is doubled.

The failures are injected by strace. Where it is not installed, or may trace nobody, this is
skipped, and says so: a machine needs no strace for the platform or for the other tests.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import failing_disk
import pytest
from failing_disk import SUBMITS, Played


@pytest.fixture(scope="module", autouse=True)
def traceable() -> None:
    if reason := failing_disk.why_not():
        pytest.skip(reason)


def left(played: Played) -> tuple[list[str], list[tuple[str, str]]]:
    """Return what SQLite finds of the file, and its jobs, as another process sees them afterwards."""
    with closing(sqlite3.connect(played.database)) as reading:
        found = [row[0] for row in reading.execute("PRAGMA integrity_check")]
        return found, list(reading.execute("SELECT name, job_id FROM jobs ORDER BY id"))


@pytest.mark.parametrize(
    ("call", "error", "places", "on"),
    [
        pytest.param("fdatasync", "EIO", range(1, 8), "", id="a sync fails"),
        pytest.param("fdatasync", "EIO", range(1, 8), "+", id="every sync fails from then on"),
        pytest.param("pwrite64", "EIO", range(1, 100, 11), "", id="a write fails"),
        pytest.param("pwrite64", "ENOSPC", range(7, 100, 11), "+", id="the disk is full from then on"),
    ],
)
def test_what_was_acknowledged_is_there_once_whichever_call_fails(
    migrated_sqlite: Path,
    tmp_path: Path,
    call: str,
    error: str,
    places: range,
    on: str,
    record_property: Callable[[str, object], None],
) -> None:
    runs = failing_disk.play(tmp_path, migrated_sqlite, call, error, places, on)

    happened: Counter[str] = Counter()
    for run in runs:
        found, jobs = left(run)
        names = [name for name, _ in jobs]
        assert found == ["ok"], run
        assert sorted(names) == sorted(set(names)), run
        assert run.acknowledged.items() <= dict(jobs).items(), run
        assert on or len(run.acknowledged) == SUBMITS, "a single failure is over at the next try"
        assert all(said.endswith("then try again.") for said in run.refused), run
        happened["failed"] += bool(run.refused)
        happened["acknowledged"] += len(run.acknowledged)
        happened["there and not acknowledged"] += len(jobs) - len(run.acknowledged)
    record_property("failed_at", {"places": list(places), "runs": len(runs), **happened})
    assert happened["failed"] > len(runs) // 2, "the failures did not come where the submits were"
    assert happened["acknowledged"]
