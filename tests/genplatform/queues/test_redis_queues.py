"""The Redis queues where a server can hurt them: restarts, lost scripts, forged members, wrong URLs."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest
from redis_server import RedisServer
from together import together

from genplatform.domain.keys import ClaimKey, JobKey, LeaseKey, RunKey, ShardKey
from genplatform.errors import Unavailable
from genplatform.queues import RedisQueues, keys

JOB = JobKey("default", "j_aaaaaaaaaa")
RUN: list[LeaseKey] = [RunKey(*JOB, 1)]
SHARDS = [ShardKey(*JOB, 1, number) for number in range(3)]
FORGED = ["", "x", "a/b/c/d/e/f", "default//1", b"\xff\xfe", "a/b/-1/0", "a" * 5000]
LONG = 60.0


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as started:
        yield started


@pytest.fixture
def queues(server: RedisServer) -> Iterator[RedisQueues]:
    made = RedisQueues(server.url)
    yield made
    made.close()


def fill(queues: RedisQueues) -> None:
    queues.submit([JOB])
    queues.hand_off("p", SHARDS)
    queues.grant(RUN, LONG)
    queues.flag_stop(JOB, "cancel")
    queues.report([{"n": 1}])


def assert_full(queues: RedisQueues) -> None:
    assert queues.wait_for_wake(0)
    assert queues.take_intake(9) == [JOB]
    assert queues.take_shards("p", 9) == SHARDS
    assert queues.renew(RUN, LONG) == []
    assert queues.stops([JOB]) == {JOB: "cancel"}
    assert queues.read_reports(9).entries == [{"n": 1}]


def test_a_server_that_forgot_its_scripts_is_taught_them_again(queues: RedisQueues) -> None:
    fill(queues)
    queues.server.call("SCRIPT", "FLUSH")

    assert_full(queues)


def test_a_killed_server_comes_back_with_its_data_and_the_queues_find_it(
    server: RedisServer, queues: RedisQueues
) -> None:
    fill(queues)

    server.kill()
    with pytest.raises(Unavailable, match="does not answer"):
        queues.ping()
    server.start()

    assert_full(queues)


def test_a_server_that_comes_back_empty_is_used_as_it_is(server: RedisServer, queues: RedisQueues) -> None:
    fill(queues)

    server.kill()
    server.forget()
    server.start()

    assert queues.renew(RUN, LONG) == RUN
    assert queues.take_shards("p", 9) == []
    fill(queues)
    assert_full(queues)


def test_every_thread_finds_a_server_that_was_restarted_between_its_calls(
    server: RedisServer, queues: RedisQueues
) -> None:
    calls: list[Callable[[], None]] = [queues.ping] * 8
    together(calls)

    server.kill()
    server.start()

    assert together(calls) == [None] * 8


def test_who_waits_for_a_wake_is_told_that_the_server_died(server: RedisServer, queues: RedisQueues) -> None:
    def wait() -> str:
        try:
            return str(queues.wait_for_wake(LONG))
        except Unavailable:
            return "unavailable"

    def kill() -> str:
        server.kill()
        return "killed"

    assert together([wait, kill]) == ["unavailable", "killed"]


def test_a_server_that_hangs_is_given_up(server: RedisServer) -> None:
    queues = RedisQueues(f"{server.url}?socket_timeout=0.2")
    queues.ping()
    os.kill(server.pid, signal.SIGSTOP)
    try:
        with pytest.raises(Unavailable, match="does not answer"):
            queues.ping()
    finally:
        os.kill(server.pid, signal.SIGCONT)


def test_what_is_no_lease_and_no_flag_is_passed_over_and_removed(queues: RedisQueues) -> None:
    for forged in FORGED:
        queues.server.call("ZADD", keys.LEASES, 1, forged)
        queues.server.call("HSET", keys.STOPS, forged, "cancel")
    queues.grant(RUN, LONG)
    queues.flag_stop(JOB, "cancel")

    assert (queues.leases(), queues.flagged()) == (set(RUN), {JOB})
    assert queues.server.call("ZCARD", keys.LEASES) == queues.server.call("HLEN", keys.STOPS) == 1


def test_members_that_are_no_keys_are_passed_over_and_removed(queues: RedisQueues) -> None:
    for forged in FORGED:
        queues.server.call("ZADD", keys.INTAKE, -1, forged)
        queues.server.call("ZADD", keys.offers("p"), -1, forged)
        queues.server.call("ZADD", keys.LEASES, -1, forged)
    queues.submit([JOB])
    queues.hand_off("p", SHARDS)
    queues.grant(RUN, -1)

    assert queues.expired(1) == RUN
    assert queues.take_intake(1) == [JOB]
    assert queues.take_shards("p", 2) == SHARDS[:2]
    assert queues.server.call("ZCARD", keys.LEASES) == 1
    assert queues.offered("p") == 1


def test_reports_that_are_no_json_objects_are_dropped_and_do_not_shift_the_others(queues: RedisQueues) -> None:
    bad = [b"\xff", "", "{", "[1]", "3", "null", "[" * 100_000, '{"n":' + "9" * 5000 + "}"]
    queues.server.call("RPUSH", keys.REPORTS, bad[0], '{"n":1}', *bad, '{"n":2}', '{"n":3}')

    read = queues.read_reports(2)
    assert read.entries == [{"n": 1}, {"n": 2}]
    queues.drop_reports(read)
    assert queues.read_reports(9).entries == [{"n": 3}]


def test_the_lease_clock_is_the_servers(queues: RedisQueues) -> None:
    queues.grant(RUN, 100)
    seconds, microseconds = queues.server.call("TIME")

    expiry = int(queues.server.call("ZSCORE", keys.LEASES, str(RUN[0])))

    now = int(seconds) * 1000 + int(microseconds) / 1000
    assert now + 40_000 < expiry <= now + 100_000


def test_a_lease_runs_out_by_itself(queues: RedisQueues) -> None:
    queues.grant(RUN, 0.05)

    while not queues.expired(1):  # pytest's own time limit ends this when it never happens
        queues.ping()

    assert queues.missing(RUN) == []


def test_ranks_of_jobs_long_gone_are_forgotten_once_the_queue_is_empty(queues: RedisQueues) -> None:
    many = [ShardKey("default", f"j_{number}", 1, 0) for number in range(keys.RANKS_KEPT + 1)]
    queues.hand_off("p", many)

    queues.take_shards("p", keys.RANKS_KEPT)
    assert queues.server.call("HLEN", keys.ranks("p")) == len(many)
    queues.take_shards("p", 1)

    assert queues.server.call("HLEN", keys.ranks("p")) == 0


def test_a_hundred_thousand_shards_take_a_hundred_round_trips(
    queues: RedisQueues, monkeypatch: pytest.MonkeyPatch
) -> None:
    trips = []
    act = queues.server.act
    monkeypatch.setattr(queues.server, "act", lambda *words: trips.append(words[0]) or act(*words))

    queues.hand_off("p", [ShardKey(*JOB, 1, number) for number in range(100_000)])

    assert trips == ["hand_off"] * 100
    assert queues.offered("p") == 100_000


def test_a_password_is_used_and_never_shown() -> None:
    with RedisServer(password="s3cret") as server:
        right = RedisQueues(f"unix://:s3cret@{server.socket}")
        right.ping()
        for url in (f"unix://:wr0ng@{server.socket}", f"unix://{server.socket}?password=wr0ng"):
            with pytest.raises(Unavailable, match="refuses these credentials") as caught:
                RedisQueues(url).ping()
            assert "wr0ng" not in caught.value.message + caught.value.hint
            assert str(server.socket) in caught.value.message
            assert "GENCTL_REDIS_URL" in caught.value.hint


def test_a_command_that_the_server_refuses_says_why(queues: RedisQueues) -> None:
    queues.server.call("SET", keys.LEASES, "not a sorted set")

    for refused in (lambda: queues.grant(RUN, 1), lambda: queues.missing([ClaimKey(*JOB, 1, 0, 1)])):
        with pytest.raises(Unavailable, match=r"refuses a command.*wrong kind of value"):
            refused()


def test_a_full_server_is_unavailable_and_says_so(queues: RedisQueues) -> None:
    queues.server.call("CONFIG", "SET", "maxmemory", "1")

    with pytest.raises(Unavailable, match=r"refuses a command.*OOM|maxmemory"):
        queues.submit([JOB])


@pytest.mark.parametrize(
    "url",
    ["unix:///nowhere/s", "redis://127.0.0.1:1", "redis://user:s3cret@no.such.host.invalid:6380/0", "redis://a..b"],
)
def test_a_url_nobody_answers_on_is_unavailable_with_the_url(url: str) -> None:
    queues = RedisQueues(url)

    with pytest.raises(Unavailable, match="does not answer") as caught:
        queues.ping()

    assert url.replace("user:s3cret", "***") in caught.value.message
    assert "genctl status" in caught.value.hint
