"""Work that a person pauses, or cancels and does again, in its middle: its workers are freed, and it ends the same."""

from __future__ import annotations

import re
from typing import Any

import pytest
from long_work import GENERATE, TRAIN, items_made_once, model_digest, outputs_folder, submitted
from whole_platform import WholePlatform, eventually

pytestmark = [pytest.mark.platform, pytest.mark.timeout(600)]


def every_cpu(platform: WholePlatform) -> str:
    """What a job file says to have the machine for itself; no endpoint keeps a part of it."""
    for endpoint in platform.json("endpoints", "ls")["endpoints"]:
        assert platform.run("endpoints", "rm", endpoint["name"]).returncode == 0
    said = " ".join(part["detail"] for part in platform.json("status")["parts"])
    counted = re.search(r" of (\d+) CPUs", said)
    assert counted, said
    return f"resources: {{cpus_per_worker: {counted[1]}}}\n"


def stands(platform: WholePlatform, job: str, state: str) -> dict[str, Any]:
    def there() -> dict[str, Any] | None:
        found: dict[str, Any] = platform.job(job)
        return found if found["state"] == state else None

    return eventually(there)


def resumed_at(platform: WholePlatform, job: str) -> list[int]:
    events = platform.json("events", job, "--type", "resumed")["events"]
    return [int(e["data"]["step"]) for e in events]


def test_a_paused_training_leaves_its_workers_to_another_and_ends_with_the_same_model(
    platform: WholePlatform, undisturbed: str
) -> None:
    whole = every_cpu(platform)
    train = TRAIN.format(name="paused").replace("every: 100", "every: 100000") + whole
    job = submitted(platform, train)
    share = platform.partway(job)
    meanwhile = f"kind: generate\nname: meanwhile\nmodel: noise@1\ncount: 64\n{whole}"
    other = submitted(platform, meanwhile)
    assert platform.job(other)["state"] == "queued"

    platform.json("pause", job)
    paused = stands(platform, job, "paused")
    assert platform.finished(other)["state"] == "succeeded", platform.logs()
    assert platform.job(job) == paused
    platform.json("resume", job)
    done = platform.finished(job, 300)

    assert done["state"] == "succeeded", (done, platform.logs())
    assert [(r["state"], r["cause"]) for r in done["runs"]] == [("preempted", "paused"), ("succeeded", None)]
    (step,) = resumed_at(platform, job)
    assert paused["reason"]["message"] == f"It is paused. It stopped at step {step} as asked (pause)."
    assert share * 1500 <= step < 1500
    assert model_digest(platform, done) == undisturbed


def test_a_paused_generate_job_keeps_what_it_published_and_makes_the_rest(platform: WholePlatform) -> None:
    job = submitted(platform, GENERATE.format(name="paused-pictures"))
    platform.partway(job)

    (paused,) = platform.json("pause", job)["jobs"]
    folder = outputs_folder(paused)
    published = paused["outputs"]["count"]
    assert paused["state"] == "paused"
    assert 0 < published < 5000
    platform.json("resume", job)
    done = platform.finished(job, 300)

    assert done["state"] == "succeeded", (done, platform.logs())
    assert [(r["state"], r["cause"]) for r in done["runs"]] == [("preempted", "paused"), ("succeeded", None)]
    items = items_made_once(platform, done)
    assert outputs_folder(done) == folder
    assert sum(".r1." in item["path"] for item in items) == published


def test_a_cancelled_training_is_done_again_from_its_checkpoint_and_ends_with_the_same_model(
    platform: WholePlatform, undisturbed: str
) -> None:
    job = submitted(platform, TRAIN.format(name="done-again"))
    platform.partway(job, low=0.2)
    platform.json("cancel", job)
    stands(platform, job, "cancelled")
    kept = [a for a in platform.client().artifacts(job) if a["kind"] == "checkpoint"]

    (again,) = platform.json("retry", job)["jobs"]
    done = platform.finished(again["id"], 300)

    assert (done["state"], done["retry_of"]) == ("succeeded", job), (done, platform.logs())
    assert resumed_at(platform, again["id"]) == [kept[0]["step"]]
    assert model_digest(platform, done) == undisturbed
    assert [a for a in platform.client().artifacts(job) if a["kind"] == "checkpoint"] == kept
