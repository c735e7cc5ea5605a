"""A training shared by two workers on a real platform: to its end, over the death of one of them, and called off."""

from __future__ import annotations

import pytest
from long_work import GANG_WORKER, free_cpus, gang_is_gone, items_made_once, model_digest, submitted
from whole_platform import WholePlatform, eventually, kill

pytestmark = [pytest.mark.platform, pytest.mark.timeout(600)]

TRAIN = (
    "kind: train\nname: {name}\nrecipe: gan\nbudget: {{steps: {steps}}}\nseed: 5\n"
    "checkpoint: {{every: 50}}\nresources: {{workers: 2}}\n"
)
GENERATE = "kind: generate\nname: of-two\nmodel: {model}\ncount: 40\nseed: 5\n"


def test_two_workers_train_and_a_killed_one_changes_nothing(platform: WholePlatform) -> None:
    whole = platform.finished(submitted(platform, TRAIN.format(name="two", steps=1200)), 300)
    assert whole["state"] == "succeeded", (whole, platform.logs())
    lines = platform.json("logs", whole["id"])["lines"]
    assert {(line["run"], line["rank"]) for line in lines} == {(1, 0), (1, 1), (1, 2)}
    assert {line["rank"] for line in lines if line["text"].startswith(f"Worker {line['rank']} of 2 is on ")} == {0, 1}

    job = submitted(platform, TRAIN.format(name="two-killed", steps=1200))
    platform.partway(job)
    kill(platform.actors(GANG_WORKER)[-1])
    parted = platform.finished(job, 300)

    assert parted["state"] == "succeeded", (parted, platform.logs())
    assert [run["cause"] for run in parted["runs"]] == ["node_lost", None]
    (resumed,) = [e["data"]["step"] for e in platform.json("events", job)["events"] if e["type"] == "resumed"]
    assert resumed % 50 == 0
    assert model_digest(platform, parted) == model_digest(platform, whole)

    made = platform.finished(submitted(platform, GENERATE.format(model=parted["model"])))
    assert made["state"] == "succeeded", (made, platform.logs())
    items_made_once(platform, made, 40)


def test_of_a_gang_that_is_cancelled_nothing_stays(platform: WholePlatform) -> None:
    free = free_cpus(platform)
    job = submitted(platform, TRAIN.format(name="two-cancelled", steps=1_000_000))
    platform.partway(job, low=0.0001)

    assert platform.run("cancel", job).returncode == 0
    done = platform.finished(job)

    assert (done["state"], done["model"]) == ("cancelled", None)
    assert eventually(lambda: gang_is_gone(platform, free), every=2.0)
