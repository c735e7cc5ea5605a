"""A Run of a command from its order to its end: real processes, real HTTP, a real store."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from genplatform.domain.log_lines import LineNumber
from genplatform.store import Store
from genworkers.commanding import actor as commanding
from genworkers.commanding import endings
from genworkers.commanding.actor import CommandActor

Platform = Any  # conftest.FakePlatform, which an importlib-mode test cannot import
Order = Callable[..., dict[str, Any]]

# Prints its own pid and that of a child in a session of its own, both deaf to SIGTERM.
FAMILY = "trap '' TERM; setsid sleep 300 & echo pids $$ $!; while :; do sleep 300; done"


@pytest.fixture
def order(store: Store) -> Order:
    """Make the order of a command: a list of words, or one line for a shell."""

    def make(platform: Platform, command: list[str] | str, **changes: Any) -> dict[str, Any]:
        return {
            "tenant": "default",
            "job_id": "j_abc",
            "run": 1,
            "name": "c",
            "actor": "run/default/j_abc/1",
            "api_url": platform.url,
            "token": "a-token-that-nobody-else-may-see",
            "store_url": store.url,
            "resume": [],
            "heartbeat_seconds": 0.05,
            "command": command,
            "shell": isinstance(command, str),
            "env": {},
            "workdir": None,
            "folders": [],
            "pip": [],
            "checkpoint_every": 3600.0,
        } | changes

    return make


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where actors make their folders; at the end nothing is left in it."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def run(order: dict[str, Any]) -> str:
    actor = CommandActor(order)
    actor.start()
    return actor.join()


def published(platform: Platform) -> dict[str, str]:
    (body,) = platform.bodies("/publish")
    return {file["key"]: file["sha256"] for file in body["files"]}


def failed(platform: Platform) -> dict[str, Any]:
    (body,) = platform.bodies("/failed")
    return dict(body)


def resume(platform: Platform) -> list[dict[str, Any]]:
    """Return what the platform would offer to the next run."""
    saved = [b for b in platform.bodies("/artifacts") if b["kind"] == "checkpoint"]
    return [{"key": b["key"], "sha256": b["sha256"], "step": b["step"]} for b in reversed(saved)]


def lines(platform: Platform) -> list[str]:
    return [line["text"] for body in platform.bodies("/progress") for line in body["logs"]]


Pids = Callable[[Platform], list[psutil.Process]]


@pytest.fixture
def pids() -> Iterator[Pids]:
    """Wait until a command has printed `pids` and some, and return those processes; none outlives the test."""
    found: list[psutil.Process] = []

    def wait(platform: Platform) -> list[psutil.Process]:
        platform.wait_for(lambda: any(line.startswith("pids") for line in lines(platform)))
        said = next(text for text in lines(platform) if text.startswith("pids")).split()[1:]
        known = [psutil.Process(int(word)) for word in said if psutil.pid_exists(int(word))]
        found.extend(known)
        return known

    yield wait
    for process in found:
        with contextlib.suppress(psutil.Error):
            process.kill()


def gone(processes: list[psutil.Process], seconds: float = 20) -> bool:
    """Wait until none of these processes lives."""
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


def test_what_a_command_leaves_is_stored_under_its_run_and_published(
    platform: Platform, store: Store, order: Order
) -> None:
    line = 'mkdir "$GENCTL_OUTPUT_DIR/a b" && echo one > "$GENCTL_OUTPUT_DIR/a b/x.txt" && echo two >&2 && pwd'

    assert run(order(platform, line, run=3)) == "published"

    (key,) = published(platform)
    assert (key, store.read_bytes(key)) == ("jobs/default/j_abc/outputs/r3/a=20b/x.txt", b"one\n")
    assert "two" in lines(platform)
    assert platform.paths()[0] == "/started"
    assert platform.bodies("/heartbeat")[0]["runs"] == [{"job_id": "j_abc", "run": 3}]


def test_a_command_finds_what_was_promised_and_nothing_of_the_platforms(
    platform: Platform, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GENCTL_DATABASE_URL", "GENCTL_API_KEY", "RAY_AUTH_TOKEN", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("GENCTL_HOME", "/a/home")
    say = "import json, os, sys; print(json.dumps([dict(os.environ), sys.executable, os.listdir()]))"

    assert run(order(platform, ["python", "-c", say], env={"EPOCHS": "3", "LANG": "C"})) == "published"

    env, python, listed = json.loads(lines(platform)[0])
    ours = {name: value for name, value in env.items() if name.startswith(("GENCTL_", "RAY_"))}
    assert {name: value for name, value in ours.items() if not name.endswith("_DIR")} == {
        "GENCTL_JOB_ID": "j_abc", "GENCTL_RUN": "1", "GENCTL_RANK": "0", "GENCTL_WORLD_SIZE": "1",
        "GENCTL_HOME": "/a/home",
    }  # fmt: skip
    assert set(ours) - {"GENCTL_OUTPUT_DIR", "GENCTL_CHECKPOINT_DIR"} == {n for n in ours if not n.endswith("_DIR")}
    assert (env["EPOCHS"], env["LANG"]) == ("3", "C")
    assert "secret" not in json.dumps(env)
    assert "a-token-that-nobody-else-may-see" not in json.dumps(env)
    assert (python, listed) == (sys.executable, [])


def test_a_command_runs_in_the_folder_that_it_names(platform: Platform, order: Order, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "train.py").write_text("print('trained')")
    asked = order(platform, ["python", "train.py"], workdir=str(work), folders=[str(tmp_path)])

    assert run(asked) == "published"

    assert lines(platform)[0] == "trained"


@pytest.mark.parametrize("where", ["nowhere", "link"])
def test_a_folder_that_is_not_there_or_leads_out_is_refused(
    platform: Platform, order: Order, tmp_path: Path, where: str
) -> None:
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "link").symlink_to("/")

    assert run(order(platform, ["true"], workdir=str(allowed / where), folders=[str(allowed)])) == "failed"

    assert failed(platform)["cause"] == "user_error"
    assert str(allowed / where) in failed(platform)["message"]


@pytest.mark.parametrize(
    ("command", "message", "hint"),
    [
        ("echo it broke >&2; exit 3", "It exited with code 3. Its last words:\nit broke", "genctl logs"),
        ("kill -TERM $$", "It was killed by signal 15 (SIGTERM).", "genctl logs"),
        ("kill -KILL $$", "It was killed by signal 9 (SIGKILL).", "when memory runs out"),
        ("exit 137", "as a shell does whose program was killed by signal 9 (SIGKILL)", "when memory runs out"),
        (["no-such-program"], "There is no program 'no-such-program' here.", "env: PATH"),
        (["/dev/null"], "'/dev/null' may not be executed.", "Make it executable"),
        ("no-such-program", "It exited with code 127.", "full path"),
    ],
)
def test_a_command_that_does_not_end_well_is_told_as_it_is(
    platform: Platform, order: Order, command: Any, message: str, hint: str
) -> None:
    assert run(order(platform, command)) == "failed"

    body = failed(platform)
    assert body["cause"] == "user_error"
    assert message in body["message"]
    assert hint in body["hint"]
    assert platform.bodies("/publish") == []


def test_memory_that_ran_out_is_told_where_the_kernel_says_so() -> None:
    by_the_kernel = endings.failure(-9, [], out_of_memory=True)
    in_a_shell = endings.failure(137, [], out_of_memory=True)
    of_its_own = endings.failure(1, [], out_of_memory=True)

    assert [f.cause for f in (by_the_kernel, in_a_shell, of_its_own)] == [
        "out_of_memory", "out_of_memory", "user_error",
    ]  # fmt: skip
    assert "the kernel ended it" in by_the_kernel.message


def test_files_that_are_not_the_folders_own_are_passed_over(
    platform: Platform, store: Store, order: Order, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("not yours")
    line = (
        f'cd "$GENCTL_OUTPUT_DIR"; echo x > file; ln -s file link; ln -s {tmp_path}/secret out; ln -s / root; mkfifo p'
    )

    assert run(order(platform, line)) == "published"

    names = [key.rpartition("/")[2] for key in published(platform)]
    assert sorted(names) == ["file", "link"]
    assert [t.rpartition(" ")[2] for t in lines(platform) if t.startswith("Not published")] == ["out", "p", "root"]


def test_more_files_than_can_be_published_are_refused(
    platform: Platform, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commanding, "MOST_FILES", 2)

    assert run(order(platform, 'cd "$GENCTL_OUTPUT_DIR"; touch a b c')) == "failed"

    assert "It left 3 files" in failed(platform)["message"]


@pytest.mark.parametrize(
    ("reason", "end"), [("cancel", "cancelled"), ("pause", "released"), ("shutdown", "released"), ("lost", "lost")]
)
def test_a_command_that_is_asked_to_stop_ends_with_all_that_it_started(
    platform: Platform, order: Order, pids: Pids, monkeypatch: pytest.MonkeyPatch, reason: str, end: str
) -> None:
    monkeypatch.setattr(commanding, "GRACE_SECONDS", {})
    monkeypatch.setattr(commanding, "GRACE", 0.2)
    actor = CommandActor(order(platform, FAMILY))
    actor.start()
    family = pids(platform)

    actor.stop(reason)

    assert actor.join() == end
    assert gone(family)
    assert [b["reason"] for b in platform.bodies("/released")] == ([] if end == "lost" else [reason])
    assert {"/publish", "/failed"} & set(platform.paths()) == set()


def test_a_command_may_end_by_itself_when_it_is_asked_to_stop(platform: Platform, order: Order) -> None:
    line = "trap 'echo saved > \"$GENCTL_CHECKPOINT_DIR/state\"; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    actor = CommandActor(order(platform, line))
    actor.start()
    platform.wait_for(lambda: "ready" in lines(platform))

    actor.stop("pause")

    assert actor.join() == "released"
    assert [(b["reason"], b["step"]) for b in platform.bodies("/released")] == [("pause", 1)]
    assert [one["step"] for one in resume(platform)] == [1]
    assert platform.bodies("/publish") == []


def test_what_a_command_left_running_ends_with_it(platform: Platform, order: Order, pids: Pids) -> None:
    assert run(order(platform, "sleep 300 & near=$!; setsid sleep 300 & echo pids $near $!")) == "published"

    assert gone(pids(platform))


KILLED = """
import json, sys
from genworkers.commanding.actor import CommandActor
actor = CommandActor(json.loads(sys.argv[1]))
actor.start()
actor.join()
"""


def test_a_command_dies_with_an_actor_that_is_killed(
    platform: Platform, order: Order, pids: Pids, tmp_path: Path
) -> None:
    env = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", KILLED, json.dumps(order(platform, FAMILY))], env=env) as process:
        family = pids(platform)

        process.kill()

    assert gone(family)


def test_a_command_whose_guard_is_killed_is_lost_and_not_left(platform: Platform, order: Order, pids: Pids) -> None:
    actor = CommandActor(order(platform, "echo pids $$; exec sleep 300"))
    actor.start()
    (command,) = pids(platform)

    command.parent().kill()

    assert actor.join() == "failed"
    assert failed(platform)["cause"] == "node_lost"
    assert gone([command])


COUNT = 'cd "$GENCTL_CHECKPOINT_DIR"; mkdir -p "a b"; echo x >> "a b/count"; wc -l < "a b/count"; '


def test_the_checkpoint_folder_is_there_again_in_the_next_run(
    platform: Platform, new_platform: Callable[[], Platform], order: Order
) -> None:
    assert run(order(platform, COUNT + "exit 1")) == "failed"
    other = new_platform()

    assert run(order(other, COUNT, run=2, resume=resume(platform))) == "published"

    assert lines(other)[-1].strip() == "2"
    assert [one["step"] for one in resume(other)] == [2]


def test_the_checkpoint_folder_is_kept_while_the_command_runs(
    platform: Platform, new_platform: Callable[[], Platform], order: Order
) -> None:
    actor = CommandActor(order(platform, COUNT + "sleep 300", checkpoint_every=0.05))
    actor.start()
    platform.wait_for(lambda: bool(resume(platform)))
    offered = resume(platform)
    actor.stop("lost")
    assert actor.join() == "lost"
    other = new_platform()

    assert run(order(other, COUNT, run=2, resume=offered)) == "published"

    assert lines(other)[-1].strip() == "2"


def test_a_damaged_checkpoint_is_passed_over_for_an_older_one(
    platform: Platform, new_platform: Callable[[], Platform], store: Store, order: Order
) -> None:
    run(order(platform, COUNT + "exit 1"))
    run(order(platform, COUNT + "exit 1", run=2, resume=resume(platform)))
    newest = resume(platform)[0]
    store.put_bytes(f"{newest['key']}/files/a=20b/count", b"damage")
    other = new_platform()

    assert run(order(other, COUNT, run=3, resume=resume(platform))) == "published"

    assert "The checkpoint 2 cannot be used" in lines(other)[0]
    assert lines(other)[-1].strip() == "2"


def test_only_the_last_checkpoints_are_kept_in_the_store(platform: Platform, store: Store, order: Order) -> None:
    for number in range(1, 6):
        run(order(platform, COUNT, run=number, resume=resume(platform)))

    kept = {key.split("/")[4] for key in store.list("jobs/default/j_abc/checkpoints")}
    assert kept == {f"step-{n:09d}.r{n}" for n in (3, 4, 5)}


def test_a_checkpoint_that_names_a_file_elsewhere_is_refused(
    platform: Platform, store: Store, order: Order, tmp_path: Path
) -> None:
    import hashlib

    state = json.dumps({"files": {"files/=2E=2E/x": hashlib.sha256(b"x").hexdigest()}}).encode()
    store.put_bytes("jobs/default/j_abc/checkpoints/step-000000001.r1/state.json", state)
    store.put_bytes("jobs/default/j_abc/checkpoints/step-000000001.r1/files/=2E=2E/x", b"x")
    offered = {"key": "jobs/default/j_abc/checkpoints/step-000000001.r1", "step": 1}

    end = run(order(platform, ["true"], run=2, resume=[offered | {"sha256": hashlib.sha256(state).hexdigest()}]))

    assert end == "published"
    assert "cannot be used" in lines(platform)[0]


def test_each_line_has_its_place_and_all_of_them_are_kept_in_the_store(
    platform: Platform, store: Store, order: Order
) -> None:
    assert run(order(platform, "echo one; sleep 0.3; echo two >&2; sleep 0.3; printf three", run=2)) == "published"

    sent = [line for body in platform.bodies("/progress") for line in body["logs"]]
    numbers = [LineNumber.of(line["seq"]) for line in sent]
    assert [(n.nth, n.rank, n.stream.word) for n in numbers] == [(1, 0, "stdout"), (2, 0, "stderr"), (3, 0, "stdout")]
    (log,) = [b for b in platform.bodies("/artifacts") if b["kind"] == "log"]
    kept = store.read_bytes(log["key"]).decode().splitlines()
    assert log["key"] == "jobs/default/j_abc/logs/r2.log"
    assert [line.split(" ", 1)[1] for line in kept] == ["0 stdout one", "0 stderr two", "0 stdout three"]
    assert platform.paths()[-1] in ("/publish", "/heartbeat")


def test_an_avalanche_of_lines_is_cut_and_its_end_is_told(platform: Platform, store: Store, order: Order) -> None:
    assert run(order(platform, "seq 1000000; echo it broke >&2; exit 1")) == "failed"

    sent = lines(platform)
    assert len(sent) < 10_000
    assert sent[:3] == ["1", "2", "3"]
    assert any("lines were left out here" in line for line in sent)
    assert "1000000" in sent[-5:]
    assert failed(platform)["message"].endswith("it broke")
    (log,) = [b for b in platform.bodies("/artifacts") if b["kind"] == "log"]
    kept = store.read_bytes(log["key"]).decode().splitlines()
    assert log["size"] < 13 << 20
    assert kept[0].endswith(" 0 stdout 1")
    assert any(line.endswith(" 0 stdout 1000000") for line in kept[-2:])
    assert any("lines are left out here" in line for line in kept)


def test_heartbeats_go_on_while_a_command_prints_without_end(platform: Platform, order: Order) -> None:
    actor = CommandActor(order(platform, ["yes", "a line that says nothing"]))
    actor.start()
    beats = len(platform.bodies("/heartbeat"))
    platform.wait_for(lambda: len(platform.bodies("/heartbeat")) >= beats + 20)

    actor.stop("cancel")

    assert actor.join() == "cancelled"
    assert threading.active_count() < 50
