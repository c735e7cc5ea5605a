"""The in-memory twin: its clock decides, and it does what the server does, whatever the order of calls."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis_server import RedisServer

from genplatform.domain.keys import JobKey, LeaseKey, RunKey, ShardKey
from genplatform.queues import MemoryQueues, Queues, RedisQueues, Reports

JOBS = [JobKey(tenant, job) for tenant in ("default", "other") for job in ("j_a", "j_b", "j_c")]

some_jobs = st.lists(st.sampled_from(JOBS), max_size=4)
some_shards = st.lists(
    st.builds(
        lambda job, run, shard: ShardKey(*job, run, shard), st.sampled_from(JOBS), st.integers(1, 2), st.integers(0, 12)
    ),
    max_size=6,
)
some_leases = st.lists(
    st.builds(lambda job, run: RunKey(*job, run), st.sampled_from(JOBS), st.integers(1, 2)), max_size=4
)
pools = st.sampled_from(["p", "q"])
limits = st.integers(-1, 5)
entries = st.lists(st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3), max_size=2), max_size=3)

# Leases far in the past or the future, each at a time of its own: the two clocks need not agree to the millisecond.
calls = st.one_of(
    st.tuples(st.just("submit"), some_jobs),
    st.tuples(st.just("take_intake"), limits),
    st.tuples(st.just("wake")),
    st.tuples(st.just("wait_for_wake"), st.just(0)),
    st.tuples(st.just("hand_off"), pools, some_shards),
    st.tuples(st.just("take_shards"), pools, limits),
    st.tuples(st.just("offered"), pools),
    st.tuples(st.just("withdraw"), pools, st.sampled_from(JOBS)),
    st.tuples(st.just("grant"), some_leases, st.sampled_from([-3000, -2000, -1000, 1000])),
    st.tuples(st.just("renew"), some_leases, st.sampled_from([-1500, 1000])),
    st.tuples(st.just("release"), some_leases),
    st.tuples(st.just("expired"), st.sampled_from([0, 100])),
    st.tuples(st.just("missing"), some_leases),
    st.tuples(st.just("flag_stop"), st.sampled_from(JOBS), st.sampled_from(["cancel", "pause"])),
    st.tuples(st.just("clear_stop"), st.sampled_from(JOBS)),
    st.tuples(st.just("stops"), some_jobs),
    st.tuples(st.just("report"), entries),
    st.tuples(st.just("read_reports"), limits),
    st.tuples(st.just("drop_reports"), limits),
)


@pytest.fixture(scope="module")
def redis_queues() -> Iterator[RedisQueues]:
    with RedisServer() as server:
        queues = RedisQueues(server.url)
        yield queues
        queues.close()


def answer(queues: Queues, name: str, words: tuple[object, ...], read: list[Reports]) -> object:
    if name == "drop_reports":
        return queues.drop_reports(read[int(str(words[0])) % len(read)]) if read else None
    said = getattr(queues, name)(*words)
    if name == "read_reports":
        read.append(said)
        return said.entries
    # Leases that expired within the same millisecond have no order of their own.
    return sorted(said) if name == "expired" else said


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(story=st.lists(calls, max_size=40))
def test_the_twin_answers_as_the_server_does(redis_queues: RedisQueues, story: list[tuple[object, ...]]) -> None:
    redis_queues.server.call("FLUSHALL")
    twin = MemoryQueues(lambda: 1_000_000.0)
    of_twin: list[Reports] = []
    of_server: list[Reports] = []

    for name, *words in story:
        said = answer(redis_queues, str(name), tuple(words), of_server)
        assert answer(twin, str(name), tuple(words), of_twin) == said, (name, words)


def test_leases_expire_when_the_clock_that_was_passed_in_says_so() -> None:
    now = [100.0]
    queues = MemoryQueues(lambda: now[0])
    lease: list[LeaseKey] = [RunKey("t", "j", 1)]
    queues.grant(lease, 10)

    now[0] = 109.9
    assert queues.expired(1) == []
    now[0] = 110.0
    assert queues.expired(1) == lease
    assert queues.renew(lease, 10) == []
    now[0] = 119.9
    assert queues.expired(1) == []
