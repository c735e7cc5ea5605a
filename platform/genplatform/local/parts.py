"""What the local platform is made of: the table of parts that the supervisor starts and watches.

The table is data, so that tests run the same supervisor over small programs of their own.
"""

from __future__ import annotations

import os
import sys

from genplatform.local import ports, probes, ray_head, redis_server
from genplatform.local.part import Part
from genplatform.settings import Settings

PORTS = ("api", *ray_head.PORTS)


def plan(settings: Settings, asked_port: int | None = None) -> tuple[str, list[Part]]:
    """Return the platform's URL and its parts, ports chosen."""
    chosen = ports.choose(PORTS, settings.home / "ports.json")
    port = asked_port or chosen["api"]
    url = f"http://{ports.LOOPBACK}:{port}"
    # The parts are told everything, whatever their own surroundings would make them guess; and a remote
    # platform that the person's clients speak to is none of their business.
    told: dict[str, str | None] = {
        "GENCTL_URL": None,
        "GENCTL_API_KEY": None,
        "GENCTL_REDIS_URL": settings.redis,
        "PYTHONUNBUFFERED": "1",
    }
    if not settings.local_folders and not settings.ray_address:
        # Jobs run here as the very user who submits them: whatever they may read they may name.
        told["GENCTL_LOCAL_FOLDERS"] = os.sep
    us = (sys.executable, "-P", "-m", "genplatform")
    token = settings.token_file.read_text().strip()
    return url, [
        redis_server.part(settings),
        ray_head.part(settings, chosen),
        Part(
            "catalog",
            (*us, "db", "upgrade"),
            told,
            once=True,
            deaths=3,
            detail="SQLite" if settings.database.startswith("sqlite") else probes.redacted(settings.database),
            hint="The database must be reachable, and its version not newer than this genctl.",
        ),
        Part(
            "api",
            (*us, "api", "--host", ports.LOOPBACK, "--port", str(port)),
            told,
            needs=("redis", "catalog"),
            ready=lambda: probes.http_ok(f"{url}/readyz"),
            port=port,
        ),
        Part(
            "dispatcher",
            (*us, "dispatcher", "--api-url", url),
            {**told, **ray_head.client_environment(settings, chosen)},
            needs=("redis", "catalog", "ray"),
            ready=lambda: _dispatcher_leads(url, token),
            # It lets running jobs save a checkpoint before it goes.
            stop_seconds=20.0,
            stop_turn=0,
        ),
    ]


def _dispatcher_leads(url: str, token: str) -> bool:
    """Whether the API has heard of a leading dispatcher; an API that does not say so is taken at its silence."""
    answer = probes.http_json(f"{url}/api/v1/status", token)
    if answer is None:
        return False
    states = [part.get("state") for part in answer.get("parts", []) if part.get("name") == "dispatcher"]
    return not states or states[0] == "up"
