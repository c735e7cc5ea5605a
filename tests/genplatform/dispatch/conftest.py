"""A small platform with a dispatcher."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from dispatched import Dispatched


@pytest.fixture
def d(catalog_url: str, tmp_path: Path) -> Iterator[Dispatched]:
    """A platform over an empty catalog, and its dispatcher, which has not gone round yet."""
    made = Dispatched(catalog_url, tmp_path)
    yield made
    made.close()
