"""submit: what it reads, sends, starts, follows and returns."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from canned_platform import CannedPlatform, job, problem

from genctl.following import Followed, results, worst_exit_code
from genctl.progress import LineView

Run = Callable[..., Any]
ID = "j_abcdefghjk"
SECOND = "j_mnpqrstuvw"


def accepts(platform: CannedPlatform, *jobs: dict[str, Any]) -> None:
    platform.on("POST /api/v1/jobs", (201, {"jobs": list(jobs)}))


def followed(platform: CannedPlatform, ref: str = ID, **answers: list[Any]) -> None:
    platform.on(f"GET /api/v1/jobs/{ref}", *answers.get("job", [job(id=ref)]))
    platform.on(f"GET /api/v1/jobs/{ref}/events", *answers.get("events", [{"events": []}]))
    platform.on(f"GET /api/v1/jobs/{ref}/logs", *answers.get("logs", [{"lines": []}]))
    platform.on(f"GET /api/v1/jobs/{ref}/artifacts", *answers.get("artifacts", [{"artifacts": []}]))


def test_the_file_travels_as_it_is_and_the_id_comes_first(platform: CannedPlatform, genctl: Run, file: str) -> None:
    accepts(platform, job(state="queued"))
    followed(platform)

    ended = genctl("submit", file, "--set", "seed=1", "-n", "x", "-q", "y", "-p", "7", "--key", "k")

    assert ended.code == 0
    asked = platform.asked[0]
    assert asked.body == b"kind: train\n"
    assert asked.headers["content-type"] == "application/yaml"
    assert asked.headers["idempotency-key"] == "k"
    assert asked.query == {"set": ["seed=1"], "name": ["x"], "queue": ["y"], "priority": ["7"]}
    assert ended.out.startswith(ID)


def test_following_tells_states_reasons_logs_and_sheets_and_ends_with_next_steps(
    platform: CannedPlatform, genctl: Run, file: str
) -> None:
    waiting = job(
        id=SECOND, kind="generate", name="pictures", state="waiting", model=None, started_at=None, finished_at=None,
        reason={"code": "needs_job", "message": "It waits for digits-gan."},
    )  # fmt: skip
    made = waiting | {
        "state": "succeeded",
        "reason": None,
        "outputs": {"count": 1000, "uri": "file:///store/outputs/default/j_mnpqrstuvw"},
    }
    running = job(state="running", finished_at=None, model=None)
    sheet = {"kind": "sheet", "step": 500, "uri": "file:///store/step-000000500.r1.png"}
    accepts(platform, job(state="queued"), waiting)
    followed(
        platform,
        job=[job(state="queued", started_at=None, finished_at=None), running, job()],
        logs=[{"lines": [{"id": 5, "text": "hello"}]}, {"lines": []}],
        artifacts=[{"artifacts": [sheet]}],
    )
    followed(platform, SECOND, job=[waiting, made])

    ended = genctl("submit", file)

    lines = ended.out.splitlines()
    assert ended.code == 0
    assert [line.split()[0] for line in lines[:2]] == [ID, SECOND]
    assert f"{SECOND}  pictures  waiting: It waits for digits-gan." in lines
    assert f"{ID}  digits-gan  | hello" in lines
    assert lines.count(f"{ID}  digits-gan  samples at step 500: /store/step-000000500.r1.png") == 1
    assert f"{ID}  digits-gan  succeeded in 42 s as digits-gan@1" in lines
    after = ended.out.partition("Next steps")[2]
    assert "genctl endpoints create digits-gan --model digits-gan@1" in after
    assert f"genctl outputs ls {SECOND}" in after
    assert "1000 in /store/outputs/default/j_mnpqrstuvw" in ended.out


def test_the_event_files_of_a_training_are_shown_by_the_command_that_reads_them() -> None:
    events = [
        {"kind": "tensorboard", "uri": f"file:///a%20store/jobs/j/tensorboard/events.out.tfevents.{step}.r1"}
        for step in (20, 10)
    ]

    assert results(job(model=None), events) == [("metrics", "tensorboard --logdir '/a store/jobs/j/tensorboard'")]


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [("succeeded", "succeeded", 0), ("failed", "cancelled", 1), ("succeeded", "cancelled", 4)],
)
def test_the_exit_code_is_the_worst_of_the_jobs(
    first: str, second: str, code: int, platform: CannedPlatform, genctl: Run, file: str
) -> None:
    accepts(platform, job(), job(id=SECOND))
    followed(platform, job=[job(state=first, error={"code": "user_error", "message": "Bad.", "hint": "Fix."})])
    followed(platform, SECOND, job=[job(id=SECOND, state=second)])

    ended = genctl("submit", file)

    assert ended.code == code
    assert code != 1 or f"genctl logs {ID}" in ended.out


def test_failed_is_worse_than_cancelled() -> None:
    assert worst_exit_code([{"state": "cancelled"}, {"state": "failed"}, {"state": "succeeded"}]) == 1


def test_detached_and_json_return_at_once(platform: CannedPlatform, genctl: Run, file: str) -> None:
    accepts(platform, job(state="queued"))

    detached, as_json = genctl("submit", file, "-d"), genctl("submit", file, "--json")

    assert platform.paths() == 2 * ["POST /api/v1/jobs"]
    assert detached.out.split()[0] == ID
    assert f"genctl watch {ID}" in detached.err
    assert (as_json.code, as_json.err) == (0, "")
    assert json.loads(as_json.out)["jobs"] == [job(state="queued")]


def test_a_dry_run_follows_nothing(platform: CannedPlatform, genctl: Run, file: str) -> None:
    accepts(platform, job(state="queued"))

    ended = genctl("submit", file, "--dry-run")

    assert ended.code == 0
    assert platform.asked[0].query == {"dry_run": ["true"]}
    assert len(platform.asked) == 1
    assert "would submit 1 job" in ended.err


def test_every_problem_of_a_bad_file_is_told_with_its_place(platform: CannedPlatform, genctl: Run, file: str) -> None:
    found = [
        {
            "message": "There is no field 'coutn'.",
            "path": "coutn",
            "line": 3,
            "column": 1,
            "hint": "Did you mean count?",
        },
        {"message": "It is below 1.", "path": "budget.steps", "line": 7, "column": 10, "hint": ""},
        {"message": "The file says nothing.", "path": "", "line": 0, "column": 0, "hint": ""},
    ]
    platform.on("POST /api/v1/jobs", problem(400, "bad_spec", "x", problems=found))

    ended = genctl("submit", file)

    assert ended.code == 2
    assert ended.err.splitlines() == [
        f"Error: {file}:3:1: coutn: There is no field 'coutn'.",
        "Hint:  Did you mean count?",
        f"Error: {file}:7:10: budget.steps: It is below 1.",
        f"Error: {file}: The file says nothing.",
    ]


def test_a_bad_file_on_stdin_is_called_stdin(platform: CannedPlatform, process: Run) -> None:
    platform.on(
        "POST /api/v1/jobs", problem(400, "bad_spec", "x", problems=[{"message": "No.", "line": 2, "column": 3}])
    )

    assert process("submit", "-", stdin=b"x").err == "Error: stdin:2:3: No.\n"


def test_stdin_is_read_and_json_there_is_known_as_json(platform: CannedPlatform, process: Run) -> None:
    accepts(platform, job(state="queued"))

    yaml = process("submit", "-", "-d", stdin=b"kind: train\n")
    as_json = process("submit", "-", "-d", stdin=b'{"kind":\t"train"}')

    assert yaml.code == as_json.code == 0
    assert [a.headers["content-type"] for a in platform.asked] == ["application/yaml", "application/json"]
    assert [a.body for a in platform.asked] == [b"kind: train\n", b'{"kind":\t"train"}']


def test_input_that_cannot_be_a_job_file_sends_nothing(platform: CannedPlatform, process: Run, tmp_path: Path) -> None:
    large = tmp_path / "large.yaml"
    with large.open("wb") as out:
        out.truncate(100_000_000)

    for ended, words in (
        (process("submit", str(large)), ["100,000,000", "1,048,576"]),
        (process("submit", "-", stdin=b"x" * (1 << 20) + b"x"), ["stdin", "1,048,576"]),
        (process("submit", str(tmp_path / "missing.yaml")), ["missing.yaml"]),
        (process("submit", str(tmp_path)), ["directory"]),
    ):
        assert ended.code == 2
        assert [w for w in words if w not in ended.err] == []
    assert platform.asked == []


def test_a_platform_that_goes_away_while_following_is_not_called_a_failed_job(
    platform: CannedPlatform, genctl: Run, file: str
) -> None:
    accepts(platform, job(state="queued"))
    platform.on(f"GET /api/v1/jobs/{ID}", problem(503, "unavailable", "The catalog is away."))

    ended = genctl("submit", file)

    assert ended.code == 3
    assert f"genctl watch {ID}" in ended.err


def test_ctrl_c_while_following_detaches(platform: CannedPlatform, environment: dict[str, str], file: str) -> None:
    accepts(platform, job(state="queued"))
    followed(platform, job=[job(state="running", finished_at=None)])
    child = subprocess.Popen(
        [sys.executable, "-m", "genctl", "submit", file],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    )
    assert child.stdout is not None
    for line in child.stdout:
        if line.rstrip().endswith("running"):
            break

    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=30)

    assert child.returncode == 0
    assert "Detached" in err
    assert f"genctl watch {ID}" in err
    assert not [p for p in platform.paths() if "cancel" in p]


def test_a_terminal_gets_bars_and_lines_above_them(
    platform: CannedPlatform, environment: dict[str, str], file: str
) -> None:
    moving = {"done": 20, "total": 40, "unit": "steps", "rate": 2.5, "eta_seconds": 8.0}
    points = [(step, {"loss_d": loss, "learning_rate": 0.001}) for step, loss in ((10, 4.0), (15, 2.0), (20, 0.5))]
    data = [{"step": step, "values": values} for step, values in points]
    losses = {"events": [{"id": str(n), "type": "metrics", "data": one} for n, one in enumerate(data)]}
    accepts(platform, job(state="queued"))
    followed(
        platform,
        job=[job(state="running", finished_at=None, progress=moving), job()],
        logs=[{"lines": [{"id": 5, "text": "hello \x1b[31m"}]}, {"lines": []}],
        events=[losses, {"events": []}],
    )
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))
    child = subprocess.Popen(
        [sys.executable, "-m", "genctl", "submit", file],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env={**environment, "TERM": "xterm", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"},
    )
    os.close(theirs)

    shown = read_all(ours)

    assert child.wait(30) == 0
    assert "20/40 steps  2.5 steps/s  ETA 8 s" in shown
    assert "loss_d  █▄▁  0.5" in shown
    assert "learning rate 0.001" in shown
    assert "digits-gan  | hello \\x1b[31m" in shown
    assert "digits-gan  succeeded in 42 s as digits-gan@1" in shown
    assert "Next steps" in shown
    assert not re.search(r"\x1b\[(3|4|9)[0-9;]*m", shown)


def read_all(fd: int) -> str:
    said = b""
    while True:
        try:
            part = os.read(fd, 65536)
        except OSError:  # how Linux ends the reading of a terminal that nobody holds any more
            part = b""
        if not part:
            os.close(fd)
            return said.decode()
        said += part


def test_ctrl_c_elsewhere_is_130(platform: CannedPlatform, environment: dict[str, str]) -> None:
    platform.on("GET /api/v1/jobs/a", job(state="running"))
    platform.on(f"GET /api/v1/jobs/{ID}", job(state="running"))
    child = subprocess.Popen(
        [sys.executable, "-m", "genctl", "wait", "a"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    while f"GET /api/v1/jobs/{ID}" not in platform.paths():
        assert child.poll() is None

    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=30)

    assert child.returncode == 130
    assert b"Traceback" not in err


def test_plain_lines_come_at_intervals_and_only_when_something_moved() -> None:
    now = [0.0]
    said: list[str] = []
    view = LineView(said.append, lambda: now[0])
    one = Followed(job(state="running"))
    one.curves.add(2, {"loss_d": 0.612345, "loss_g": 1.0, "learning_rate": 0.1})

    for moment, done in ((1.0, 1), (6.0, 2), (7.0, 3), (12.0, 3), (18.0, 3)):
        now[0] = moment
        one.job["progress"] = {"done": done, "total": 9, "unit": "steps", "rate": 2.5, "eta_seconds": 4.0}
        view.show([one])

    one.job |= {"state": "queued", "progress": {"done": 0, "total": 9, "unit": "step"}}
    now[0] = 30.0
    view.show([one])

    told = "steps  2.5 steps/s  ETA 4 s  loss_d 0.6123  loss_g 1"
    assert said == [f"{ID}  digits-gan  2/9 {told}", f"{ID}  digits-gan  3/9 {told}"]


def test_what_stands_behind_two_dashes_is_a_command(
    platform: CannedPlatform, genctl: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    accepts(platform, job(state="queued", kind="command"))
    options = ["-d", "--env", "EPOCHS=3", "--cpus", "2", "-n", "mine", "--workdir", "."]

    ended = genctl("submit", *options, "--", "python", "train.py", "--steps", "10", "--", "-x")

    assert ended.code == 0
    assert json.loads(platform.asked[0].body) == {
        "kind": "command",
        "command": ["python", "train.py", "--steps", "10", "--", "-x"],
        "env": {"EPOCHS": "3"},
        "resources": {"cpus_per_worker": 2.0},
        "workdir": str(tmp_path),
    }
    assert platform.asked[0].headers["content-type"] == "application/json"
    assert platform.asked[0].query == {"name": ["mine"]}


def test_a_command_for_a_platform_elsewhere_names_no_folder_of_this_machine(
    platform: CannedPlatform, genctl: Run
) -> None:
    accepts(platform, job(state="queued", kind="command"))

    assert genctl("submit", "-d", "--", "true").code == 0

    assert json.loads(platform.asked[0].body) == {"kind": "command", "command": ["true"]}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["FILE", "--", "true"], "not both"),
        (["--"], "no command behind --"),
        ([], "a job FILE, - for stdin, or a command"),
        (["--env", "A=1", "FILE"], "--env is for a command"),
        (["--env", "A", "--", "true"], "'A' is not K=V"),
    ],
)
def test_a_command_line_that_says_too_much_or_too_little_is_refused(
    genctl: Run, file: str, arguments: list[str], said: str
) -> None:
    ended = genctl("submit", *[file if word == "FILE" else word for word in arguments])

    assert ended.code == 2
    assert said in ended.err
