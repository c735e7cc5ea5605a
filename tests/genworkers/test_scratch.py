"""Scratch folders: gone with their block, and those of killed processes with the next sweep."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from genworkers.scratch import scratch, sweep

# Ends with its standard input, so with whoever started it.
HOLD = """
import sys
from genworkers.scratch import scratch
with scratch("log") as folder:
    (folder / "kept").write_text("x")
    print(folder, flush=True)
    sys.stdin.read()
"""

Hold = Callable[[], tuple[subprocess.Popen[str], Path]]


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def hold(temporary: Path) -> Iterator[Hold]:
    """Start a process that has a folder; return both."""
    with ExitStack() as stack:

        def start() -> tuple[subprocess.Popen[str], Path]:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            environment = os.environ | {"TMPDIR": str(temporary)}
            command = [sys.executable, "-c", HOLD]
            holder = stack.enter_context(subprocess.Popen(command, text=True, env=environment, **pipes))
            stack.callback(holder.kill)
            assert holder.stdout is not None
            return holder, Path(holder.stdout.readline().strip())

        yield start


def test_a_folder_goes_with_its_block(temporary: Path) -> None:
    with scratch("log") as folder:
        (folder / "file").write_text("x")

    assert list(temporary.iterdir()) == []


def test_what_a_killed_process_left_is_swept_and_what_others_have_stays(hold: Hold, temporary: Path) -> None:
    killed, left = hold()
    _, living = hold()
    killed.kill()
    killed.wait()
    others = temporary / "genctl-0-home"
    others.mkdir()
    assert left.exists()

    with scratch("checkpoint") as ours:
        sweep()

        assert sorted(temporary.iterdir()) == sorted([living, others, ours])
    assert (living / "kept").exists()
