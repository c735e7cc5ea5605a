"""Both implementations of the queues, as a fixture, and short ways to name what passes through them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis_server import RedisServer

from genplatform.domain.keys import ClaimKey, JobKey, LeaseKey, RunKey, ShardKey
from genplatform.queues import MemoryQueues, Queues, RedisQueues

A, B, C = (JobKey("default", f"j_{letter * 10}") for letter in "abc")
# Long enough for any machine; a test that waits so long has failed.
LONG = 60.0


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as started:
        yield started


@pytest.fixture(params=["redis", "memory"])
def queues(request: pytest.FixtureRequest) -> Iterator[Queues]:
    made: Queues
    if request.param == "redis":
        made = RedisQueues(request.getfixturevalue("server").url)
    else:
        made = MemoryQueues(lambda: 1_000_000.0)
    wiped(made)
    yield made
    made.close()


def wiped(queues: Queues) -> None:
    """Let the queues lose all they hold, from outside, as FLUSHALL does."""
    if isinstance(queues, RedisQueues):
        queues.server.call("FLUSHALL")
    elif isinstance(queues, MemoryQueues):
        queues.wipe()


def shards(job: JobKey, *numbers: int, run: int = 1) -> list[ShardKey]:
    return [ShardKey(job.tenant, job.job_id, run, number) for number in numbers]


def runs(*numbers: int, job: JobKey = A) -> list[LeaseKey]:
    return [RunKey(job.tenant, job.job_id, number) for number in numbers]


def claim(number: int, job: JobKey = A) -> LeaseKey:
    return ClaimKey(job.tenant, job.job_id, 1, 0, number)
