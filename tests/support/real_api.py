"""Real API processes and the Redis beside them, as fixtures: each test's own, which it may kill."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from api_process import ApiOwner, ApiProcess
from redis_server import RedisServer


@pytest.fixture(scope="module")
def api_owner() -> Iterator[ApiOwner]:
    with ApiOwner() as owner:
        yield owner


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A Redis that the test may kill."""
    with RedisServer() as started:
        yield started


@pytest.fixture
def make_api(api_owner: ApiOwner, redis_server: RedisServer, tmp_path: Path) -> Iterator[Callable[..., ApiProcess]]:
    """Make APIs over one home; those that live when the test ends are killed."""
    made: list[ApiProcess] = []

    def make(database: str = "", home: Path = tmp_path / "home", **more: Any) -> ApiProcess:
        log = tmp_path / f"api-{len(made)}.log"
        made.append(ApiProcess(api_owner, home, redis_server.url, log, database, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()
