"""The real local Ray under the supervisor: private, on loopback only, restarted whole, and gone after down."""

from __future__ import annotations

from collections.abc import Callable

import psutil
import pytest
from local_home import LocalHome, api_row, eventually

from genplatform.local import processes


def listening(session: int) -> set[str]:
    """Return the addresses that the processes of a session listen on."""
    found = set()
    for process in processes.of_session(session):
        for connection in process.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN:
                found.add(connection.laddr.ip)
    return found


@pytest.mark.platform
@pytest.mark.timeout(300)
def test_ray_lives_on_loopback_survives_its_own_death_and_leaves_nothing(make_home: Callable[..., LocalHome]) -> None:
    local_home = make_home({"name": "ray", "real": True}, api_row())
    local_home.up()
    before = local_home.pid("ray")
    address = local_home.part("ray")["detail"]
    assert listening(before) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert (local_home.settings.home / "ray_token").stat().st_mode & 0o777 == 0o600

    raylet = next(process for process in processes.of_session(before) if process.name() == "raylet")
    raylet.kill()
    eventually(lambda: local_home.part("ray")["restarts"] == 1 and local_home.part("ray")["state"] == "up", 120.0)

    after = local_home.pid("ray")
    assert processes.of_session(before) == []
    assert local_home.part("ray")["detail"].startswith(address)
    assert local_home.down()
    assert processes.of_session(after) == []
