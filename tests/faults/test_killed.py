"""Parts of a real platform killed with SIGKILL in the middle of real work: it still ends right, exactly once."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress

import pytest
import redis
from long_work import GENERATE, TRAIN, claims_of, items_made_once, model_digest, outputs_folder, submitted
from whole_platform import WholePlatform, eventually, kill

pytestmark = [pytest.mark.platform, pytest.mark.timeout(600)]

TRIES = 3


def killed_part(name: str) -> Callable[[WholePlatform], int]:
    return lambda platform: platform.part(name)


def killed_actor(title: str) -> Callable[[WholePlatform], int]:
    return lambda platform: platform.actor(title)


@pytest.mark.parametrize(
    ("name", "victim", "goes_on"),
    [
        ("killed-run", killed_actor("RunActor"), False),
        ("killed-dispatcher", killed_part("dispatcher"), True),
        ("killed-api", killed_part("api"), True),
        ("killed-redis", killed_part("redis"), True),
    ],
)
def test_training_ends_with_the_same_model(
    platform: WholePlatform,
    undisturbed: str,
    name: str,
    victim: Callable[[WholePlatform], int],
    goes_on: bool,
    record_property: Callable[[str, object], None],
) -> None:
    job = submitted(platform, TRAIN.format(name=name))
    record_property("killed_at", platform.partway(job))

    kill(victim(platform))
    done = platform.finished(job, 300)

    assert done["state"] == "succeeded", (done, platform.logs())
    numbers = [run["number"] for run in done["runs"]]
    assert numbers == ([1] if goes_on else [1, 2]), "a run whose worker lives is adopted; one whose worker died is not"
    assert model_digest(platform, done) == undisturbed


def test_a_worker_that_is_stopped_is_replaced_and_its_late_word_changes_nothing(
    platform: WholePlatform, undisturbed: str
) -> None:
    job = submitted(platform, TRAIN.format(name="zombie"))
    platform.partway(job)
    zombie = platform.actor("RunActor")

    os.kill(zombie, signal.SIGSTOP)
    eventually(lambda: len(platform.job(job)["runs"]) == 2)
    with suppress(ProcessLookupError):  # it may have been ended already
        os.kill(zombie, signal.SIGCONT)
    done = platform.finished(job, 300)

    assert done["state"] == "succeeded", (done, platform.logs())
    assert [run["state"] for run in done["runs"]] == ["lost", "succeeded"]
    assert model_digest(platform, done) == undisturbed


def test_a_wiped_redis_costs_a_running_job_nothing(platform: WholePlatform, undisturbed: str) -> None:
    job = submitted(platform, TRAIN.format(name="wiped"))
    platform.partway(job)

    redis.Redis.from_url(platform.settings.redis).flushall()
    done = platform.finished(job, 300)

    assert done["state"] == "succeeded", (done, platform.logs())
    assert [run["number"] for run in done["runs"]] == [1]
    assert model_digest(platform, done) == undisturbed


def test_down_saves_running_work_and_the_next_up_goes_on(platform: WholePlatform, undisturbed: str) -> None:
    job = submitted(platform, TRAIN.format(name="paused-by-down"))
    share = platform.partway(job)

    assert platform.run("down").returncode == 0
    assert platform.json("status")["state"] == "down"
    platform.up()
    done = platform.finished(job, 300)

    assert done["state"] == "succeeded", (done, platform.logs())
    assert [(r["state"], r["cause"]) for r in done["runs"]] == [("preempted", "shutdown"), ("succeeded", None)]
    resumed = [e["data"]["step"] for e in platform.json("events", job)["events"] if e["type"] == "resumed"]
    assert resumed
    assert resumed[0] >= share * 1500
    assert model_digest(platform, done) == undisturbed


def test_a_killed_run_goes_on_from_its_last_checkpoint(platform: WholePlatform) -> None:
    runs = platform.job("killed-run")["runs"]
    lines = platform.json("logs", "killed-run", "--run", "2")["lines"]

    assert (runs[0]["state"], runs[0]["cause"]) == ("lost", "node_lost")
    assert any("checkpoint" in line["text"].lower() for line in lines[:3]), lines[:3]


@pytest.mark.parametrize(
    ("name", "victim", "claims_again"),
    [
        ("killed-generator", killed_actor("PoolActor"), True),
        ("generate-dispatcher", killed_part("dispatcher"), False),
    ],
)
def test_generating_publishes_each_item_once(
    platform: WholePlatform,
    name: str,
    victim: Callable[[WholePlatform], int],
    claims_again: bool,
    record_property: Callable[[str, object], None],
) -> None:
    for _ in range(TRIES):
        job = submitted(platform, GENERATE.format(name=name))
        record_property("killed_at", platform.partway(job))
        kill(victim(platform))
        done = platform.finished(job, 300)
        assert done["state"] == "succeeded", (done, platform.logs())
        again = max(claims_of(items_made_once(platform, done))) > 1
        if again or not claims_again:
            break
        # The worker was hit between two claims.

    assert again is claims_again


def test_nothing_of_a_lost_claim_is_left_in_the_outputs(platform: WholePlatform) -> None:
    folder = outputs_folder(platform.job("killed-generator"))
    published = {json.loads(line)["path"] for line in (folder / "manifest.jsonl").read_text().splitlines()}

    def tidy() -> bool:
        return {str(p.relative_to(folder)) for p in folder.rglob("*.png")} == published

    assert eventually(tidy)


def test_every_part_that_was_killed_is_up_again(platform: WholePlatform) -> None:
    assert eventually(platform.is_up)
