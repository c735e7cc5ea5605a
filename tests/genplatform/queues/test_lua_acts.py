"""Each Lua file is one act whose header is true: what it says of keys and answers, and what it uses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import pytest
from redis_server import RedisServer

from genplatform.domain.keys import JobKey, LeaseKey, RunKey, ShardKey
from genplatform.queues import RedisQueues
from genplatform.queues.server import Act, acts

ACTS = sorted(acts().values(), key=lambda act: act.name)

# All commands that the acts may use; each is in Redis 6.2.
COMMANDS = {
    *("DEL", "EXISTS", "GET", "HDEL", "HGET", "HLEN", "HSET", "INCR", "INCRBY", "LLEN", "LRANGE", "LTRIM"),
    *("RPUSH", "SET", "TIME", "ZADD", "ZMSCORE", "ZPOPMIN", "ZRANGEBYSCORE", "ZREMRANGEBYSCORE"),
}


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as started:
        yield started


def header(act: Act) -> list[str]:
    lines = act.source.splitlines()
    return lines[: next(i for i, line in enumerate(lines) if not line.startswith("-- "))]


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.name)
def test_a_header_says_what_it_does_its_keys_its_arguments_and_its_answer(act: Act) -> None:
    head, body = header(act), act.source.removeprefix("\n".join(header(act)))
    says_args = any(line.startswith("-- ARGV[") for line in head)

    assert not head[0].startswith(("-- KEYS", "-- ARGV", "-- Returns"))
    assert sum(line.startswith("-- Returns ") for line in head) == 1
    assert re.findall(r"^-- KEYS\[(\d+)\] \w+: ", "\n".join(head), re.MULTILINE) == [
        str(number + 1) for number in range(act.keys)
    ]
    assert set(re.findall(r"KEYS\[(\d+)\]", body)) == {str(number + 1) for number in range(act.keys)}
    assert says_args == ("ARGV" in body)


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.name)
def test_an_act_uses_only_commands_of_redis_6_2(act: Act) -> None:
    assert set(re.findall(r"redis\.call\('(\w+)'", act.source)) <= COMMANDS
    assert "redis.pcall" not in act.source.replace("redis.pcall('PUBLISH'", "")


def test_the_queues_pass_to_every_act_the_keys_its_header_names(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    queues = RedisQueues(server.url)
    passed: dict[str, set[int]] = {}
    act = queues.server.act

    def noting(name: str, names: Sequence[str], args: Sequence[str | float]) -> object:
        passed.setdefault(name, set()).add(len(names))
        return act(name, names, args)

    monkeypatch.setattr(queues.server, "act", noting)
    job, run = JobKey("t", "j"), list[LeaseKey]([RunKey("t", "j", 1)])
    queues.submit([job])
    queues.wake()
    queues.hand_off("p", [ShardKey("t", "j", 1, 0)])
    queues.take_shards("p", 1)
    queues.withdraw("p", job)
    queues.grant(run, 1)
    queues.renew(run, 1)
    queues.expired(1)
    queues.report([{}])
    queues.drop_reports(queues.read_reports(1))

    assert passed == {act.name: {act.keys} for act in ACTS}


def test_an_act_called_with_other_keys_is_refused(server: RedisServer) -> None:
    queues = RedisQueues(server.url)

    with pytest.raises(ValueError, match=r"wake\.lua takes 1 keys, not 2"):
        queues.server.act("wake", ["a", "b"], [])
