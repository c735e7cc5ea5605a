"""A part's log is kept within bounds while the part runs, and one old file beside it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from local_home import LocalHome, api_row, eventually, row

from genplatform.local import logfile

# It says more than a log may hold, and one word more when it is asked to.
TALKS = f"""
import os, signal
signal.signal(signal.SIGUSR1, lambda *_: os.write(1, b"later\\n"))
for _ in range({logfile.LOG_BYTES} // 1_000_000 + 1):
    os.write(1, b"early\\n" + 999_994 * b"x")
while True:
    signal.pause()
"""


def test_the_log_of_a_part_that_goes_on_talking_is_cut(make_home: Callable[..., LocalHome]) -> None:
    local_home = make_home(api_row(), row("dispatcher", TALKS))
    log, old = (local_home.settings.logs / name for name in ("dispatcher.log", "dispatcher.log.1"))

    local_home.up()
    eventually(lambda: old.exists() and log.stat().st_size <= logfile.LOG_BYTES)
    os.kill(local_home.pid("dispatcher"), signal.SIGUSR1)
    eventually(lambda: log.read_bytes().endswith(b"later\n"))

    assert old.stat().st_size > logfile.LOG_BYTES
    assert old.read_bytes().startswith(b"early\n")
    assert b"\0" not in log.read_bytes()
    assert local_home.part("dispatcher")["restarts"] == 0


def test_the_supervisors_own_log_is_cut_too(local_home: LocalHome) -> None:
    local_home.up()
    log = local_home.settings.logs / "supervisor.log"

    with open(log, "ab") as out:
        out.write((logfile.LOG_BYTES + 1) * b"x")

    assert eventually(lambda: log.stat().st_size == 0)


def test_only_one_old_file_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    for word in ("first", "second"):
        log.write_text(word)
        logfile.keep_short(log, 4)

    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"part.log": "", "part.log.1": "second"}


def test_a_log_within_its_bounds_is_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    log.write_text("four")

    logfile.keep_short(log, 4)
    logfile.keep_short(tmp_path / "no.log", 4)

    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"part.log": "four"}


def test_a_log_that_cannot_be_kept_is_cut_all_the_same(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    log.write_text("a long one")
    (tmp_path / "part.log.1").mkdir()

    logfile.keep_short(log, 4)

    assert log.read_text() == ""
    assert {file.name for file in tmp_path.iterdir()} == {"part.log", "part.log.1"}


@pytest.mark.parametrize(("text", "said"), [("", []), ("a\n\n  b \n", ["a", "b"]), ("a\nb\nc\n", ["b", "c"])])
def test_a_tail_is_the_last_lines_that_say_something(tmp_path: Path, text: str, said: list[str]) -> None:
    log = tmp_path / "part.log"
    log.write_text(text)

    assert logfile.tail(log, 2) == said
