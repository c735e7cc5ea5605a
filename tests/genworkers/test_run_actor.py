"""A training Run from its order to its end, over real HTTP and a real store."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

from genplatform.store import Store
from genworkers import context
from genworkers.models import model_digest
from genworkers.recipes.gan import Gan
from genworkers.training.actor import RunActor
from genworkers.transcript import Transcript

Platform = Any  # conftest.FakePlatform, which an importlib-mode test cannot import
Answer = tuple[int, dict[str, Any]]
Order = Callable[..., dict[str, Any]]


def run(order: dict[str, Any]) -> str:
    actor = RunActor(order)
    actor.start()
    return actor.join()


def resume(platform: Platform) -> list[dict[str, Any]]:
    """Return what the platform would offer to the next run."""
    saved = [b for b in platform.bodies("/artifacts") if b["kind"] == "checkpoint"]
    return [{"key": b["key"], "sha256": b["sha256"], "step": b["step"]} for b in reversed(saved)]


def published(platform: Platform) -> dict[str, Any]:
    (body,) = platform.bodies("/publish")
    assert set(body) == {"kind", "job_id", "run", "model"}
    return body["model"]


def test_a_run_publishes_its_model(platform: Platform, store: Store, run_order: Order) -> None:
    assert run(run_order(platform.url)) == "published"

    model = published(platform)
    files = {key.rsplit("/", 1)[1] for key in store.list(model["key"])}
    card = json.loads(store.read_bytes(f"{model['key']}/card.json"))
    config = json.loads(store.read_bytes(f"{model['key']}/config.json"))
    assert files == {"model.safetensors", "config.json", "card.json"}
    assert model["key"] == f"models/default/{model['digest']}"
    assert model["digest"] == model_digest("gan", config, card["weights"]["sha256"])
    assert model["card"] == card
    assert (config["height"], config["width"], config["channels"]) == (8, 8, 1)
    assert (card["steps"], card["seed"], card["tile"]) == (60, 0, 64)
    assert set(card["metrics"]) == {"d_loss", "g_loss", "validation_d_loss"}
    assert card["split"]["counts"] == {"train": 1257, "validation": 270, "test": 270}
    assert "j_abc" not in json.dumps(card)
    assert platform.tokens == {"Bearer run:default:j_abc:1:signature"}


def test_a_run_tells_what_it_does_while_it_does_it(platform: Platform, store: Store, run_order: Order) -> None:
    run(run_order(platform.url))

    first, *_, last = platform.paths()
    assert (first, last) in {("/started", "/publish"), ("/started", "/heartbeat")}
    assert platform.bodies("/started")[0]["worker"] == "run/default/j_abc/1"
    assert platform.bodies("/heartbeat")[0]["runs"] == [{"job_id": "j_abc", "run": 1}]
    told = [b["progress"] for b in platform.bodies("/progress") if b["progress"]]
    assert told[-1]["done"] == 60
    assert told[-1]["unit"] == "steps"
    assert "Step 60 of 60" in platform.logs
    points = [m["step"] for b in platform.bodies("/progress") for m in b["metrics"] if "g_loss" in m["values"]]
    assert points == list(range(1, 61))
    told = [(b["kind"], b["step"]) for b in platform.bodies("/artifacts")]
    assert [step for kind, step in told if kind == "checkpoint"] == [20, 40, 60]
    assert [step for kind, step in told if kind == "sheet"] == [30, 60]
    assert store.read_bytes("jobs/default/j_abc/sheets/step-000000060.r1.png").startswith(b"\x89PNG")


def kept_log(platform: Platform, store: Store) -> list[str]:
    (log,) = [b for b in platform.bodies("/artifacts") if b["kind"] == "log"]
    assert log["key"] == f"jobs/default/{log['job_id']}/logs/r{log['run']}.log"
    return store.read_bytes(log["key"]).decode().splitlines()


def test_what_a_run_said_is_kept_in_the_store_however_it_ended(
    platform: Platform, store: Store, run_order: Order
) -> None:
    assert run(run_order(platform.url)) == "published"

    kept = kept_log(platform, store)
    assert [line.split(" ", 3)[1:] for line in kept] == [["0", "log", text] for text in platform.logs.splitlines()]
    assert any("Step 60 of 60" in line for line in kept)


def test_what_a_run_said_before_it_failed_is_kept_with_its_last_word(
    platform: Platform, store: Store, run_order: Order
) -> None:
    assert run(run_order(platform.url, recipe="no-such-recipe")) == "failed"

    assert " 0 log Failed: " in kept_log(platform, store)[-1]


@pytest.mark.parametrize(("recipe", "end", "door"), [("gan", "published", "/publish"), ("none", "failed", "/failed")])
def test_a_run_ends_as_ever_when_the_disk_takes_nothing_of_what_it_says(
    platform: Platform, run_order: Order, monkeypatch: pytest.MonkeyPatch, recipe: str, end: str, door: str
) -> None:
    monkeypatch.setattr(Transcript, "_open", lambda *_: Path("/dev/full").open("wb", buffering=2))  # noqa: SIM115

    assert run(run_order(platform.url, recipe=recipe)) == end

    assert len(platform.bodies(door)) == 1
    assert "What it said could not be kept in the store: [Errno 28]" in platform.logs


def test_a_run_on_a_node_without_a_temporary_folder_fails_with_its_reason(
    platform: Platform, run_order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))

    assert run(run_order(platform.url)) == "failed"

    (failed,) = platform.bodies("/failed")
    assert "No such file or directory" in failed["message"]
    assert "What it said could not be kept in the store: [Errno 2]" in platform.logs


def test_only_the_last_checkpoints_are_kept(platform: Platform, store: Store, run_order: Order) -> None:
    run(run_order(platform.url))

    steps = {key.split("/")[4] for key in store.list("jobs/default/j_abc/checkpoints")}

    assert steps == {"step-000000040.r1", "step-000000060.r1"}


def test_the_best_checkpoint_lies_apart_and_the_one_before_it_goes(
    platform: Platform, store: Store, run_order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = {20: 2.0, 40: 1.0, 60: 3.0}
    monkeypatch.setattr(Gan, "evaluate", lambda recipe, batch, ctx: {"d_loss": torch.tensor(losses[ctx.step])})
    best = {"every": 50, "keep": 1, "best": "validation_d_loss", "mode": "min", "publish": "best"}

    assert run(run_order(platform.url, checkpoint=best, evaluate_every=20)) == "published"

    assert [b["step"] for b in platform.bodies("/artifacts") if b["kind"] == "best_checkpoint"] == [20, 40]
    assert {key.split("/")[4] for key in store.list("jobs/default/j_abc/best")} == {"step-000000040.r1"}
    assert {key.split("/")[4] for key in store.list("jobs/default/j_abc/checkpoints")} == {"step-000000060.r1"}
    assert published(platform)["card"]["steps"] == 40


def test_a_run_that_goes_on_publishes_the_best_checkpoint_of_the_run_before(
    platform: Platform, new_platform: Callable[[], Platform], run_order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = {20: 1.0, 40: 2.0, 60: 3.0}
    monkeypatch.setattr(Gan, "evaluate", lambda recipe, batch, ctx: {"d_loss": torch.tensor(losses[ctx.step])})
    how = {
        "checkpoint": {"every": 20, "keep": 3, "best": "validation_d_loss", "mode": "min", "publish": "best"},
        "evaluate_every": 20,
    }
    run(run_order(platform.url, **how))
    (best,) = [b for b in platform.bodies("/artifacts") if b["kind"] == "best_checkpoint"]
    other = new_platform()

    run(run_order(other.url, run=2, resume=[s for s in resume(platform) if s["step"] == 40], best=best, **how))

    assert published(other)["digest"] == published(platform)["digest"]
    assert published(other)["card"]["steps"] == 20


def events_in(data: bytes) -> list[tuple[int, dict[str, float]]]:
    """Read an event file as TensorBoard does: length, its checksum, a protocol buffer, its checksum."""
    found = []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        event = Event.FromString(data[12 : 12 + length])
        assert struct.unpack("<I", data[12 + length : 16 + length]) == (masked_crc32c(data[12 : 12 + length]),)
        found.append((event.step, {value.tag: value.simple_value for value in event.summary.value}))
        data = data[16 + length :]
    return found


def test_metrics_are_kept_as_tensorboard_reads_them_each_step_once(
    platform: Platform, new_platform: Callable[[], Platform], store: Store, run_order: Order
) -> None:
    run(run_order(platform.url))
    other = new_platform()
    offered = [saved for saved in resume(platform) if saved["step"] == 40]

    run(run_order(other.url, job_id="j_def", resume=offered))

    kept = [b for b in platform.bodies("/artifacts") if b["kind"] == "tensorboard"]
    assert [b["step"] for b in kept] == [20, 40, 60]
    assert [b["step"] for b in other.bodies("/artifacts") if b["kind"] == "tensorboard"] == [60]
    assert all("/tensorboard/events.out.tfevents." in b["key"] for b in kept)
    events = [event for b in kept for event in events_in(store.read_bytes(b["key"]))]
    assert [step for step, values in events if "d_loss" in values] == list(range(1, 61))
    last = [values for step, values in events if step == 60 and "d_loss" in values][-1]
    assert last["d_loss"] == pytest.approx(published(platform)["metrics"]["d_loss"])
    assert {"generator_learning_rate", "discriminator_gradient_norm"} <= set(last)


def test_a_run_is_no_worse_for_event_files_that_cannot_be_written(
    platform: Platform, run_order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(context, "write_events", fail)

    assert run(run_order(platform.url)) == "published"

    assert "are not among the event files of TensorBoard: [Errno 28]" in platform.logs


def test_the_same_order_publishes_the_same_model_again(platform: Platform, run_order: Order) -> None:
    run(run_order(platform.url))
    run(run_order(platform.url, job_id="j_def", run=7))

    one, two = (body["model"] for body in platform.bodies("/publish"))
    assert one == two


def test_a_model_that_was_damaged_in_the_store_is_written_anew(
    platform: Platform, store: Store, run_order: Order
) -> None:
    run(run_order(platform.url))
    weights = f"{published(platform)['key']}/model.safetensors"
    good = store.read_bytes(weights)
    store.put_bytes(weights, good[:-1])

    assert run(run_order(platform.url, run=2)) == "published"

    assert store.read_bytes(weights) == good


def test_a_run_goes_on_from_another_jobs_checkpoint_and_leaves_it_where_it_is(
    platform: Platform, new_platform: Callable[[], Platform], store: Store, run_order: Order
) -> None:
    run(run_order(platform.url))
    other = new_platform()
    offered = [saved for saved in resume(platform) if saved["step"] == 40]

    end = run(run_order(other.url, job_id="j_def", resume=offered, checkpoint={"every": 5, "keep": 1}))

    assert end == "published"
    assert "Going on from the checkpoint at step 40." in other.logs
    assert published(other)["digest"] == published(platform)["digest"]
    assert {key.split("/")[4] for key in store.list("jobs/default/j_def/checkpoints")} == {"step-000000060.r1"}
    assert {key.split("/")[4] for key in store.list("jobs/default/j_abc/checkpoints")} == {
        "step-000000040.r1",
        "step-000000060.r1",
    }


@pytest.mark.parametrize(("reason", "end"), [("shutdown", "released"), ("pause", "released"), ("cancel", "cancelled")])
def test_a_run_that_is_asked_to_stop_lets_go(platform: Platform, run_order: Order, reason: str, end: str) -> None:
    stop = {"job_id": "j_abc", "run": 1, "shard": None, "reason": reason}
    platform.answers["/heartbeat"] = lambda _: (200, {"stop": [stop]})

    assert run(run_order(platform.url, budget={"steps": 1_000_000}, checkpoint={"every": 10**6, "keep": 2})) == end

    (released,) = platform.bodies("/released")
    assert released["reason"] == reason
    saved = resume(platform)
    if reason == "cancel" or released["step"] == 0:
        assert saved == []
    else:
        assert saved[0]["step"] == released["step"]
    assert platform.bodies("/publish") == []
    assert platform.bodies("/failed") == []


def test_a_stopped_run_goes_on_in_the_next_and_publishes_the_same(
    platform: Platform, new_platform: Callable[[], Platform], run_order: Order
) -> None:
    run(run_order(platform.url))
    straight = published(platform)
    other = new_platform()
    seen = threading.Event()
    actor = RunActor(run_order(other.url, job_id="j_def", checkpoint={"every": 10, "keep": 3}))
    other.answers["/artifacts"] = lambda _: (seen.set(), (200, {}))[1]
    actor.start()
    assert seen.wait(60)
    actor.stop("shutdown")
    end = actor.join()

    offered = resume(other)
    again = run(run_order(other.url, job_id="j_def", run=2, resume=offered))

    assert end in {"released", "published"}
    assert again == "published"
    assert "Going on from the checkpoint" in other.logs
    assert other.bodies("/publish")[-1]["model"]["digest"] == straight["digest"]


def test_a_lost_run_stops_at_once_and_says_nothing(platform: Platform, run_order: Order) -> None:
    stop = {"job_id": "j_abc", "run": 1, "shard": None, "reason": "lost"}
    platform.answers["/heartbeat"] = lambda _: (200, {"stop": [stop]})

    assert run(run_order(platform.url, budget={"steps": 1_000_000})) == "lost"

    assert not {"/publish", "/failed", "/released"} & set(platform.paths())


def test_an_error_after_the_run_was_lost_is_nobodys_business(
    platform: Platform, run_order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = RunActor(run_order(platform.url))

    def step(recipe: object, batch: object, ctx: object) -> None:
        actor.stop("lost")
        raise ZeroDivisionError

    monkeypatch.setattr(Gan, "step", step)
    actor.start()

    assert actor.join() == "lost"
    assert "/failed" not in platform.paths()


@pytest.mark.parametrize("door", ["/started", "/progress", "/artifacts", "/publish"])
def test_a_fenced_run_is_lost_at_whichever_door(platform: Platform, run_order: Order, door: str) -> None:
    platform.refuse(door)

    assert run(run_order(platform.url)) == "lost"

    assert not {"/failed", "/released"} & set(platform.paths())
    assert door == "/publish" or "/publish" not in platform.paths()


def test_another_runs_stop_is_not_heard(platform: Platform, run_order: Order) -> None:
    stop = {"job_id": "j_abc", "run": 2, "shard": None, "reason": "lost"}
    platform.answers["/heartbeat"] = lambda _: (200, {"stop": [stop]})

    assert run(run_order(platform.url)) == "published"


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"data": {"source": "mnist"}}, "no data source 'mnist'", "digits"),
        ({"params": {"latent_dims": 4}}, "params.latent_dims: Extra inputs are not permitted", "recipes show"),
        ({"recipe": "gna"}, "Did you mean 'gan'?", ""),
        ({"split": {"train": 2.0}}, "cannot be used", "add up to 1"),
        ({"params": {"height": 9}}, "the data's pictures have 8", ""),
    ],
)
def test_what_the_spec_got_wrong_is_told_as_the_users(
    platform: Platform, run_order: Order, changes: dict[str, Any], message: str, hint: str
) -> None:
    assert run(run_order(platform.url, **changes)) == "failed"

    (failed,) = platform.bodies("/failed")
    assert failed["cause"] == "user_error"
    assert message in failed["message"]
    assert hint in failed["hint"]
    assert (failed["shard"], failed["claim"]) == (None, None)


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (MemoryError(), "out_of_memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried..."), "out_of_memory"),
        (ZeroDivisionError("division by zero"), "user_error"),
    ],
)
def test_what_a_recipe_raises_is_told_with_its_cause_and_traceback(
    platform: Platform, run_order: Order, monkeypatch: pytest.MonkeyPatch, error: Exception, cause: str
) -> None:
    def step(recipe: object, batch: object, ctx: object) -> None:
        raise error

    monkeypatch.setattr(Gan, "step", step)

    assert run(run_order(platform.url)) == "failed"

    (failed,) = platform.bodies("/failed")
    assert failed["cause"] == cause
    assert type(error).__name__ in failed["message"]
    assert "in step" in failed["traceback"]
    assert "Failed: " in platform.logs
    assert "in step\n" in platform.logs + "\n"


def test_a_traceback_in_the_log_is_bounded(
    platform: Platform, run_order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(recipe: object, batch: object, ctx: object) -> None:
        raise ValueError("\n".join(f"line {number}" for number in range(500)))

    monkeypatch.setattr(Gan, "step", step)
    run(run_order(platform.url))

    (failed,) = platform.bodies("/failed")
    assert "line 400\n" in platform.logs
    assert "line 399\n" not in platform.logs
    assert failed["hint"].endswith("; the traceback is in the run's log (genctl logs).")


def test_a_platform_that_is_away_for_a_while_fails_nothing(platform: Platform, run_order: Order) -> None:
    down = {"left": 6}

    def away(body: dict[str, Any]) -> Answer:
        down["left"] -= 1
        return (503, {}) if down["left"] >= 0 else (200, {"stop": [], "model": "digits-gan@1"})

    for door in ("/started", "/heartbeat", "/progress", "/artifacts", "/publish"):
        platform.answers[door] = away

    assert run(run_order(platform.url)) == "published"


def test_a_run_whose_token_opens_nothing_any_more_is_lost_at_once(platform: Platform, run_order: Order) -> None:
    """The record was restored from a backup: it will take nothing of what was started before."""
    platform.answers["/heartbeat"] = lambda _: (401, {"code": "unauthorized", "detail": "No valid token."})

    assert run(run_order(platform.url, budget={"steps": 1_000_000})) == "lost"

    assert {"/publish", "/failed", "/released"} & set(platform.paths()) == set()


def test_a_name_in_the_store_that_is_taken_is_not_the_jobs_fault(
    platform: Platform, store: Store, run_order: Order
) -> None:
    store.put_bytes("jobs/default/j_abc/checkpoints/step-000000020.r1/state.json", b"of an earlier record")

    assert run(run_order(platform.url)) == "failed"

    (failed,) = platform.bodies("/failed")
    assert failed["cause"] == "node_lost"
    assert "exists already with other content" in failed["message"]
    assert store.read_bytes("jobs/default/j_abc/checkpoints/step-000000020.r1/state.json") == b"of an earlier record"


KILLED = """
import json, sys
from genworkers.training.actor import RunActor
from genworkers.transcript import Transcript
actor = RunActor(json.loads(sys.argv[1]))
actor.start()
actor.join()
"""


def test_a_run_whose_process_is_killed_goes_on_to_the_same_digest(
    platform: Platform, new_platform: Callable[[], Platform], run_order: Order
) -> None:
    run(run_order(platform.url))
    straight = published(platform)["digest"]
    other = new_platform()
    order = run_order(other.url, job_id="j_def")
    process: list[subprocess.Popen[bytes]] = []

    def kill(body: dict[str, Any]) -> Answer:
        if body["step"] == 40:
            process[0].send_signal(signal.SIGKILL)
        return 200, {}

    other.answers["/artifacts"] = kill
    process.append(
        subprocess.Popen([sys.executable, "-c", KILLED, json.dumps(order)], env=os.environ | {"OMP_NUM_THREADS": "1"})
    )
    status = process[0].wait(timeout=100)
    other.answers.clear()

    again = run(run_order(other.url, job_id="j_def", run=2, resume=resume(other)))

    assert status == -signal.SIGKILL
    assert again == "published"
    assert "Going on from the checkpoint at step 40." in other.logs
    assert published(other)["digest"] == straight


def test_no_scratch_is_left(
    platform: Platform, run_order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    (scratch / "genctl-scratch-checkpoint-of-a-killed-one" / "checkpoint").mkdir(parents=True)
    monkeypatch.setattr("tempfile.tempdir", str(scratch))

    run(run_order(platform.url))

    assert list(scratch.iterdir()) == []
