"""Real data that may lie beside the checkout: a test that uses it skips where it is absent."""

from __future__ import annotations

from pathlib import Path

import pytest
from sources import ROOT


def shared(*parts: str) -> Path:
    """Return a path in the shared data, or skip the test."""
    for folder in ROOT.parents:
        path = folder.joinpath("shared", "data", *parts)
        if path.exists():
            return path
    pytest.skip(f"there is no shared/data/{'/'.join(parts)} beside the checkout")
