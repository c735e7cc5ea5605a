"""How long to soak, and how much longer a soak may take than it soaks."""

from __future__ import annotations

import pytest

# To drain what is under way, look for leftovers after their grace, and read every file again.
AFTERWARDS = 540


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give each soak the time that was asked for."""
    limit = config.getoption("--soak-seconds") + AFTERWARDS
    for item in items:
        if item.get_closest_marker("soak"):
            item.add_marker(pytest.mark.timeout(limit))
