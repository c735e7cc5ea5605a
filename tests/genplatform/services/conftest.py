"""A small platform on SQLite, and one on each database for what depends on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from small_platform import SmallPlatform


@pytest.fixture
def p(catalog_url: str, tmp_path: Path) -> Iterator[SmallPlatform]:
    """A platform over an empty catalog."""
    made = SmallPlatform(catalog_url, tmp_path)
    yield made
    made.close()


@pytest.fixture
def on_each(catalog_url: str, tmp_path: Path) -> Iterator[SmallPlatform]:
    """A platform over an empty catalog, on each database."""
    made = SmallPlatform(catalog_url, tmp_path)
    yield made
    made.close()
