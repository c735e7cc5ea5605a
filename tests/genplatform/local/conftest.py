"""Homes for tests of the local platform, ended with the test that made them."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from local_home import LocalHome, api_row, row


@pytest.fixture
def make_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., LocalHome]]:
    """Make homes; what runs in them when the test ends is ended."""
    monkeypatch.setenv("GENCTL_TEST_OWNER", str(os.getpid()))
    for name in ("GENCTL_HOME", "GENCTL_URL", "GENCTL_API_KEY", "GENCTL_REDIS_URL", "GENCTL_RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    made: list[LocalHome] = []

    def make(*table: dict[str, Any], name: str = "home") -> LocalHome:
        one = LocalHome(tmp_path / name, table or [api_row(), row("dispatcher", stop_turn=0)])
        monkeypatch.setenv("GENCTL_HOME", str(one.settings.home))
        made.append(one)
        return one

    yield make
    for one in made:
        if one.settings.home.exists():
            one.down()
        shutil.rmtree(one.settings.runtime_dir, ignore_errors=True)


@pytest.fixture
def local_home(make_home: Callable[..., LocalHome]) -> LocalHome:
    """A home of a stand-in API and dispatcher."""
    return make_home()


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A loopback port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])
