"""The API while the parts beside it fail it: another API on the same catalog, a Redis that is gone, frozen or empty."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from api_process import ApiProcess
from hand_engine import HandEngine
from real_api import api_owner, make_api, redis_server
from redis_server import RedisServer
from small_platform import API_URL, TENANT, SmallPlatform, train
from together import together
from whole_platform import eventually

from genplatform.dispatch.dispatcher import Dispatcher
from genplatform.domain.keys import JobKey
from genplatform.domain.times import RECONCILE_SECONDS
from genplatform.errors import Conflict
from genplatform.queues import RedisQueues, keys

__all__ = ["api_owner", "make_api", "redis_server"]  # fixtures, found by their names

TIMES = 50
Start = Callable[..., ApiProcess]
Record = Callable[[str, object], None]


@pytest.fixture
def start_api(make_api: Start) -> Start:
    """Make an API and start it."""

    def start(database: str) -> ApiProcess:
        api = make_api(database)
        api.start()
        return api

    return start


def submit_once(api: ApiProcess, text: str) -> list[dict[str, Any]]:
    """Submit and take the first answer for the last."""
    with api.client(patience=0.0) as client:
        return client.submit(text)


def test_one_key_at_two_apis_at_once_is_one_job(start_api: Start, catalog_url: str) -> None:
    apis = [start_api(catalog_url), start_api(catalog_url)]

    def submit(number: int) -> str:
        with apis[number % 2].client() as client:
            (job,) = client.submit(train("once"), key="one-key")
            return str(job["id"])

    told = together([lambda n=n: submit(n) for n in range(TIMES)])

    assert [row.job_id for row in apis[0].rows()] == [told[0]]
    assert set(told) == {told[0]}


def test_a_retry_at_the_other_api_is_the_same_job_and_another_body_is_refused_at_both(
    start_api: Start, catalog_url: str
) -> None:
    apis = [start_api(catalog_url), start_api(catalog_url)]

    told = []
    for api in apis:
        with api.client() as client:
            told += client.submit(train("here"), key="k")
            with pytest.raises(Conflict, match="used for another"):
                client.submit(train("elsewhere"), key="k")

    assert [row.job_id for row in apis[0].rows()] == [told[0]["id"]]
    assert told[1]["id"] == told[0]["id"]


class Reader:
    """A dispatcher over an engine moved by hand, on the real Redis; its time passes when the test says so."""

    def __init__(self, database: str, folder: Path, redis: str) -> None:
        self._platform = SmallPlatform(database, folder)
        self._queues = RedisQueues(redis)
        self.engine = HandEngine()
        w = replace(self._platform.w, queues=self._queues)
        self._dispatcher = Dispatcher(w, self.engine, "d1", API_URL)

    def tick(self, seconds: float = 0.0) -> list[str]:
        """Go round once, `seconds` later; return the jobs at work."""
        self._platform.clock.go(seconds)
        assert self._dispatcher.tick()
        return [name.removeprefix(f"run/{TENANT}/").partition("/")[0] for name in self.engine.names()]

    def hears_of(self, job: str) -> None:
        """Wait until Redis was told of a job: the API tells it after it has answered."""
        told = str(JobKey(TENANT, job))
        eventually(lambda: self._queues.server.call("ZSCORE", keys.INTAKE, told) is not None)

    def close(self) -> None:
        self._queues.close()
        self._platform.close()


@pytest.fixture
def reader(sqlite_url: str, tmp_path: Path, redis_server: RedisServer) -> Iterator[Reader]:
    made = Reader(sqlite_url, tmp_path, redis_server.url)
    yield made
    made.close()


@pytest.mark.parametrize("comes_back", ["with its data", "empty"])
def test_a_submit_while_redis_is_gone_is_taken_and_found_by_the_dispatcher_by_itself(
    start_api: Start,
    sqlite_url: str,
    redis_server: RedisServer,
    reader: Reader,
    comes_back: str,
    record_property: Record,
) -> None:
    api = start_api(sqlite_url)
    with api.client() as client:
        (before,) = client.submit(train("before"))
        assert reader.tick() == [before["id"]]
        (unread,) = client.submit(train("unread"))
        reader.hears_of(unread["id"])
        redis_server.kill()
        (during,) = submit_once(api, train("during"))
        record_property("killed_at", {"jobs_then": 2, "redis": comes_back})
        not_ready = api.ready()
        if comes_back == "empty":
            redis_server.forget()
        redis_server.start()
        at_once = reader.tick()
        (after,) = client.submit(train("after"))
        reader.hears_of(after["id"])
        woken = reader.tick()
        ready = api.ready()
    # In two steps, so that the leader keeps its lease: what it finds it finds as one that leads on.
    reader.tick(RECONCILE_SECONDS / 2)
    reconciled = reader.tick(RECONCILE_SECONDS / 2)

    assert not_ready == {"status": 503, "catalog": True, "redis": False, "store": True}
    assert ready == {"status": 200, "catalog": True, "redis": True, "store": True}
    kept = [unread["id"]] if comes_back == "with its data" else []
    assert sorted(at_once) == sorted([before["id"], *kept])
    assert sorted(woken) == sorted([before["id"], after["id"], *kept])
    assert sorted(reconciled) == sorted(job["id"] for job in (before, unread, during, after))


def test_a_submit_while_redis_is_frozen_is_taken(
    start_api: Start, sqlite_url: str, redis_server: RedisServer, reader: Reader, record_property: Record
) -> None:
    api = start_api(sqlite_url)
    with api.client() as client:
        os.kill(redis_server.pid, signal.SIGSTOP)
        (job,) = submit_once(api, train("during"))
        record_property("frozen_at", {"jobs_then": 0})
        os.kill(redis_server.pid, signal.SIGCONT)
        (after,) = client.submit(train("after"))

    assert sorted(reader.tick()) == sorted([job["id"], after["id"]])
