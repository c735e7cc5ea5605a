"""Options of the simulation: how many seeds to play, or which one to play again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from snapshot import Ground


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seeds", type=int, default=None, help="how many seeds to play")
    parser.addoption("--seed", type=int, default=None, help="the one seed to play again, with its whole trace")


@pytest.fixture(scope="session")
def ground() -> Iterator[Ground]:
    """The process's one database in memory."""
    made = Ground()
    yield made
    made.close()
