"""`connect`: which URL becomes what, and what a wrong one says."""

from __future__ import annotations

import pytest

from genplatform.domain.keys import JobKey
from genplatform.errors import SettingsError
from genplatform.queues import MemoryQueues, RedisQueues, connect


@pytest.mark.parametrize("url", ["unix:///tmp/x/redis.sock", "redis://h:1/0", "rediss://u:p@h", "unix:///a%20b?db=1"])
def test_a_servers_url_gives_queues_without_connecting(url: str) -> None:
    assert isinstance(connect(url), RedisQueues)


def test_memory_gives_queues_of_their_own_with_every_call() -> None:
    one, other = connect("memory://"), connect("memory://")
    one.submit([JobKey("t", "j")])

    assert isinstance(one, MemoryQueues)
    assert other.take_intake(1) == []


@pytest.mark.parametrize(
    "url",
    [
        *("", "localhost", "http://h", "REDIS://h", "memory://x", "unix://", "redis://", "/tmp/redis.sock"),
        *("redis://h:port", "redis://h:99999", "redis://[::1", "redis://h?db=x", "redis://h?no_such_option=1"),
    ],
)
def test_a_url_that_names_no_server_is_refused_with_the_url_and_what_to_set(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        connect(url)

    assert repr(url.partition("?")[0]) in caught.value.message
    assert "GENCTL_REDIS_URL" in caught.value.hint


@pytest.mark.parametrize(
    "url", ["redis://:pa/ss@h", "redis://:p@ss@h:port", "redis://h:port?password=pass", "x://u:pass@h"]
)
def test_a_refusal_never_shows_a_password(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        connect(url)

    assert "pa" not in caught.value.message.replace("password may need percent-encoding", "")
    assert "ss" not in caught.value.message.replace("password may need percent-encoding", "")
