"""A generating worker that stands still just before it publishes, and goes on when another has published its shard."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from long_work import claims_of, items_made_once, submitted
from whole_platform import WholePlatform, eventually

from genplatform.catalog import ShardRow
from genplatform.domain.job import DEFAULT_TENANT
from genplatform.domain.states import ShardState

pytestmark = [pytest.mark.platform, pytest.mark.timeout(600)]

# Enough to keep the other worker at work until the zombie's lease is over.
MANY = 25_000
GENERATE = f"kind: generate\nname: zombie-generator\nmodel: noise@1\ncount: {MANY}\nresources: {{workers: 2}}\n"
TRIES = 20


@contextmanager
def standing_still(*pids: int) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def shards(platform: WholePlatform, job: str, state: ShardState) -> list[ShardRow]:
    with platform.catalog.read() as tx:
        row = tx.jobs.by_id(DEFAULT_TENANT, job)
        assert row is not None
        return tx.shards.in_state(row.id, state)


def worker_of(platform: WholePlatform, job: str) -> tuple[str, int]:
    """The name and the pid of a worker that has a claim of the job."""
    pids = platform.workers()

    def at_work() -> tuple[str, int] | None:
        names = [s.worker for s in shards(platform, job, ShardState.CLAIMED)]
        return next(((name, pids[name]) for name in names if name in pids), None)

    return eventually(at_work, every=0.001)


def has_written(platform: WholePlatform, job: str, worker: str) -> ShardRow:
    """Wait until a worker has put a shard's files into the store and thrown its own copy of them away."""

    def drawing() -> tuple[ShardRow, Path] | None:
        for shard in shards(platform, job, ShardState.CLAIMED):
            first = f"genctl-scratch-pool-*/shard-*/{shard.start:06d}.png"
            for file in (platform.settings.runtime_dir / "scratch").glob(first):
                return (shard, file.parent) if shard.worker == worker else None
        return None

    shard, folder = eventually(drawing, every=0.001)
    eventually(lambda: not folder.exists(), every=0.0002)
    return shard


def published(platform: WholePlatform, job: str, number: int) -> ShardRow:
    """Wait until a shard is published, whoever did it."""
    found = eventually(lambda: [s for s in shards(platform, job, ShardState.PUBLISHED) if s.number == number])
    return found[0]


def refusal(platform: WholePlatform, job: str) -> dict[str, Any]:
    """Wait until a publication is refused, and return what is said of it."""
    with platform.client() as client:
        events = eventually(lambda: client.events(job, types=["refused"])["events"])
    refused: dict[str, Any] = events[0]["data"]
    return refused


def late_word(platform: WholePlatform, job: str, worker: str, pid: int) -> tuple[ShardRow, dict[str, Any]]:
    """Let a worker stand still between its last file and its word of it; the shard as published, and its refusal.

    Ray's own process on the node stands still with it, as on a machine that does: else it would end the worker,
    which was given up, before that comes to itself.
    """
    raylet = platform.process("ray", "raylet")
    for _ in range(TRIES):
        written = has_written(platform, job, worker)
        with standing_still(pid, raylet):
            made = published(platform, job, written.number)
            if made.claim > written.claim:
                os.kill(pid, signal.SIGCONT)
                with platform.client() as client:
                    refused = eventually(lambda: client.events(job, types=["refused"])["events"])
                return made, refused[0]["data"]
        # Its word had been on its way already, and was taken.
    raise AssertionError(f"In {TRIES} tries the worker was never hit before its word was on its way.")


def test_its_late_word_is_refused_and_each_item_is_there_once(
    platform: WholePlatform, record_property: Callable[[str, object], None]
) -> None:
    job = submitted(platform, GENERATE)
    record_property("generated_at_stop", platform.partway(job, low=0.02))
    worker, pid = worker_of(platform, job)

    made, refused = late_word(platform, job, worker, pid)
    done = platform.finished(job, 300)

    assert (refused["run"], refused["shard"]) == (made.run, made.number)
    assert refused["claim"] < made.claim
    assert done["state"] == "succeeded", (done, platform.logs())
    assert [run["number"] for run in done["runs"]] == [1]
    items = items_made_once(platform, done, MANY)
    its = [i for i in items if i["path"].startswith(f"shard-{made.number:06d}.")]
    assert claims_of(its) == {made.claim}
    assert eventually(platform.is_up)
