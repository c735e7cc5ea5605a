"""Redis killed in the middle of work and started again with nothing in it: all that it held comes from the catalog."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import pytest
import redis
from long_work import ITEMS, TRAIN, claims_of, items_made_once, model_digest, submitted
from whole_platform import WholePlatform, eventually, kill

from genplatform.domain.shards import DEFAULT_SHARD_ITEMS
from genplatform.local.ray_head import logical_cpus
from genplatform.services.joining import MOST_SHARDS

pytestmark = [pytest.mark.platform, pytest.mark.timeout(600)]

# Two of this size do not run beside a training run: the second one waits for the first.
SIZE = logical_cpus(os.cpu_count() or 1) // 2
HALF = "kind: generate\nname: {name}\nmodel: noise@1\ncount: {count}\nresources: {{cpus_per_worker: {size}}}\n"
# Of so many shards that it does not join the pool that is at work, but waits for a place.
FEW = (MOST_SHARDS + 1) * DEFAULT_SHARD_ITEMS
# A heartbeat that Redis does not hear of costs the API two; a publication, one to three.
LOST_HINTS = 8


def half(name: str, count: int) -> str:
    return HALF.format(name=name, count=count, size=SIZE)


def lost_hints(platform: WholePlatform) -> int:
    """How often the API could not tell Redis what it should hold."""
    return (platform.settings.logs / "api.log").read_text().count('"hint_not_sent"')


def test_work_under_way_goes_on_and_what_waits_behind_it_runs(
    platform: WholePlatform, undisturbed: str, record_property: Callable[[str, object], None]
) -> None:
    train = submitted(platform, TRAIN.format(name="redis-empty-train"))
    platform.partway(train, low=0.05)
    generate = submitted(platform, half("redis-empty-generate", ITEMS))
    behind = [submitted(platform, half(f"redis-empty-behind-{n}", FEW)) for n in range(3)]
    record_property("generated_at_kill", platform.partway(generate))
    record_property("trained_at_kill", platform.partway(train))
    assert [platform.job(job)["state"] for job in behind] == ["queued"] * 3
    server = redis.Redis.from_url(platform.settings.redis)
    server.set("planted", "here")

    before = lost_hints(platform)
    with platform.unattended():
        kill(platform.part("redis"))
        shutil.rmtree(platform.settings.home / "redis")
        (platform.settings.home / "redis").mkdir()
        behind.append(submitted(platform, half("redis-empty-meanwhile", FEW)))
        eventually(lambda: lost_hints(platform) > before + LOST_HINTS)
    trained, generated = platform.finished(train, 300), platform.finished(generate, 300)
    rest = [platform.finished(job, 300) for job in behind]

    assert server.get("planted") is None
    ended = [trained, generated, *rest]
    assert {job["state"] for job in ended} == {"succeeded"}, (ended, platform.logs())
    assert [[run["number"] for run in job["runs"]] for job in ended] == [[1]] * len(ended)
    assert model_digest(platform, trained) == undisturbed
    assert claims_of(items_made_once(platform, generated)) == {1}, "the worker that lives keeps its claim"
    for job in rest:
        items_made_once(platform, job, FEW)
    assert eventually(platform.is_up)
