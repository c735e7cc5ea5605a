"""Commands from submit to what they left: published once, by the current Run, and listed file by file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fake_node import DIGEST
from small_platform import TENANT, SmallPlatform, command

from genplatform.domain import layout
from genplatform.domain.job import JobKind
from genplatform.errors import BadRequest, BadSpec, Fenced
from genplatform.services import cancel, fold, nodes, outputs, pause, resume, retry, verify


def test_what_a_command_left_is_published_and_its_job_succeeds(p: SmallPlatform) -> None:
    c, node = p.commanding()

    assert node.publish_files("b.txt", "a/one=20two.bin") == 2

    job = p.job(c)
    assert (job["kind"], job["state"], job["progress"]["done"]) == ("command", "succeeded", 2)
    assert job["outputs"] == {"count": 2, "uri": p.w.store.uri(layout.files(node.key))}
    listed = outputs.ls(p.w, TENANT, c)
    assert [(i["index"], i["path"]) for i in listed["items"]] == [(0, "a/one two.bin"), (1, "b.txt")]
    assert outputs.show(p.w, TENANT, c, 1)["uri"] == p.w.store.uri(f"{layout.files(node.key)}/b.txt")
    source, mime, _ = outputs.content(p.w, TENANT, c, 0)
    with source:
        assert (source.read(), mime) == (b"a/one=20two.bin", "application/octet-stream")
    assert verify.verify(p.w.catalog, p.w.store, deep=True) == []


def test_the_files_of_a_command_are_listed_in_pages(p: SmallPlatform) -> None:
    c, node = p.commanding()
    node.publish_files(*(f"{n}.txt" for n in range(5)))

    first = outputs.ls(p.w, TENANT, c, limit=2)
    rest = outputs.ls(p.w, TENANT, c, limit=10, after=first["next"])

    assert [i["path"] for i in first["items"] + rest["items"]] == [f"{n}.txt" for n in range(5)]
    assert (first["count"], rest["next"]) == (5, None)


def test_a_command_that_left_nothing_succeeds_as_well(p: SmallPlatform) -> None:
    c, node = p.commanding()

    assert node.publish_files() == 0

    assert (p.state(c), p.job(c)["outputs"]["count"], outputs.ls(p.w, TENANT, c)["items"]) == ("succeeded", 0, [])
    assert verify.verify(p.w.catalog, p.w.store) == []


def test_files_published_again_because_the_answer_was_lost_are_there_once(p: SmallPlatform) -> None:
    c, node = p.commanding()

    assert [node.publish_files("a"), node.publish_files("a")] == [1, 1]

    assert outputs.ls(p.w, TENANT, c)["count"] == 1


def test_a_run_that_was_taken_for_dead_publishes_nothing(p: SmallPlatform) -> None:
    c, zombie = p.commanding()
    p.lose(c)
    with pytest.raises(Fenced):
        zombie.publish_files("late")
    node = p.commander(p.open(c))
    node.start()
    with pytest.raises(Fenced):
        zombie.publish_files("late")

    node.publish_files("mine")

    assert [i["path"] for i in outputs.ls(p.w, TENANT, c)["items"]] == ["mine"]
    with pytest.raises(Fenced):
        zombie.publish_files("late")


def test_a_cancelled_command_publishes_nothing(p: SmallPlatform) -> None:
    c, node = p.commanding()
    cancel.cancel(p.w, TENANT, c)

    with pytest.raises(Fenced):
        node.publish_files("a")

    node.release("cancel")
    assert p.state(c) == "cancelled"


def test_files_outside_the_runs_own_folder_are_refused(p: SmallPlatform) -> None:
    _, node = p.commanding()
    body = {"kind": "files"} | node.run | {"files": [{"key": "models/x", "sha256": "0" * 64, "size": 1}]}

    with pytest.raises(BadRequest, match="not below"):
        nodes.publish(p.w, node.grant, body)


def test_a_training_is_not_ended_by_files(p: SmallPlatform) -> None:
    t = p.one("kind: train\nrecipe: gan\n")
    node = p.trainer(p.open(t))
    node.start()

    with pytest.raises(Fenced):
        nodes.publish(p.w, node.grant, {"kind": "files", "files": []} | node.run)

    assert p.state(t) == "running"


def test_a_command_is_ordered_as_it_was_asked_for(p: SmallPlatform) -> None:
    opened = p.open(p.one(command(more="env: {A: b}\nresources: {cpus_per_worker: 2}\n")))

    order = opened.order
    assert (opened.kind, opened.pool, order["actor"]) == (JobKind.COMMAND, None, opened.key.actor)
    asked = {name: order[name] for name in ("command", "shell", "env", "workdir", "resume")}
    assert asked == {
        "command": ["python", "train.py"], "shell": False, "env": {"A": "b"}, "workdir": None, "resume": [],
    }  # fmt: skip


def test_a_paused_command_goes_on_from_its_checkpoint_folder(p: SmallPlatform) -> None:
    c, node = p.commanding()
    pause.pause(p.w, TENANT, c)
    assert node.heartbeat()[0]["reason"] == "pause"
    key = node.checkpoint(1)
    node.release("pause", step=1)
    assert p.state(c) == "paused"

    resume.resume(p.w, TENANT, c)

    assert p.open(c).order["resume"] == [{"key": key, "sha256": DIGEST, "step": 1}]


def test_a_retried_command_is_offered_the_checkpoints_of_the_one_that_failed(p: SmallPlatform) -> None:
    c, node = p.commanding()
    key = node.checkpoint(4)
    node.fail(message="It exited with code 1.")
    assert (p.state(c), p.job(c)["error"]["message"]) == ("failed", "It exited with code 1.")

    (again,) = retry.retry(p.w, TENANT, c)["jobs"]

    assert [one["key"] for one in p.open(again["id"]).order["resume"]] == [key]


def test_a_command_that_prints_gets_further(p: SmallPlatform) -> None:
    c, node = p.commanding()
    p.clock.go(60)
    before = p.row(c).progressed_at

    node.report(logs=[{"seq": 1, "time": p.clock.now, "text": "still here"}])
    fold.fold(p.w, p.term())

    assert (before, p.row(c).progressed_at) == (p.clock.now - 60, p.clock.now)


def test_a_folder_is_run_in_only_where_the_platform_reads_folders(p: SmallPlatform, tmp_path: Path) -> None:
    text = command(more=f"workdir: {tmp_path}/work\n")
    with pytest.raises(BadSpec) as refused:
        p.one(text)
    p.w = replace(p.w, folders=(str(tmp_path),))

    allowed = p.one(text)
    with pytest.raises(BadSpec) as outside:
        p.one(command("d", f"workdir: {tmp_path}-2\n"))

    assert p.open(allowed).order["workdir"] == f"{tmp_path}/work"
    (problem,) = refused.value.problems
    assert (problem.path, problem.line) == ("workdir", 4)
    assert "reads none" in problem.hint
    assert str(tmp_path) in outside.value.problems[0].hint


def test_what_pip_is_to_install_reaches_the_worker(p: SmallPlatform) -> None:
    job_id = p.one(command(more="pip: [numpy==2.1, 'tool @ file:///tools/tool.whl']\n"))

    assert p.open(job_id).order["pip"] == ["numpy==2.1", "tool @ file:///tools/tool.whl"]
