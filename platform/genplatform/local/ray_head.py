"""The local Ray: one head node on the loopback address, with a token, a folder and ports of its own."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

from genplatform.local import home, ports, probes
from genplatform.local.part import Part
from genplatform.settings import Settings, environment

# Ray's fixed defaults would collide between two homes: the control plane (6379, which is also Redis's), the
# client server (10001), the agent (52365) and the dashboard process's own metrics (44227).
PORTS = ("ray", "ray_client", "ray_agent", "ray_dashboard_metrics")

# Where a PostgreSQL driver looks for a password that its URL does not hold.
_OF_THE_DATABASE = ("PGPASSWORD", "PGPASSFILE")

OBJECT_STORE_BYTES = 200_000_000  # what passes between actors is small; the bytes of jobs go through the store


def logical_cpus(cores: int) -> int:
    """Return how many CPUs Ray is told of: more than there are.

    They only bound how many actors live at once. Ours pin their threads and mostly wait (a served model, a
    pool between two jobs), and with two real ones a training run would shut out everything else.
    """
    return max(4, 2 * cores)


def client_environment(settings: Settings, chosen: Mapping[str, int]) -> dict[str, str | None]:
    """Return what a process needs in its environment, before Python starts, to speak to this home's Ray.

    When `GENCTL_RAY_ADDRESS` names another Ray, its token and mode are the person's own settings.
    """
    if settings.ray_address:
        return {"GENCTL_RAY_ADDRESS": settings.ray_address, "RAY_ADDRESS": settings.ray_address}
    address = f"{ports.LOOPBACK}:{chosen['ray']}"
    return {**_shared(settings), "GENCTL_RAY_ADDRESS": address, "RAY_ADDRESS": address}


def _shared(settings: Settings) -> dict[str, str | None]:
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_file(settings)),
        "RAY_AUTH_TOKEN": None,
        "RAY_USAGE_STATS_ENABLED": "0",
        # Named after other systems, but it is what it says: without clusters Ray takes 127.0.0.1 as it is, and
        # all its processes listen there only. With them, it puts the machine's outward address in its place.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        # Its HAProxy would listen on all interfaces.
        "RAY_SERVE_ENABLE_HA_PROXY": "0",
    }


def token_file(settings: Settings) -> Path:
    """Return the file of the token that this home's Ray asks of everyone."""
    return settings.home / "ray_token"


def make_token(settings: Settings) -> None:
    """Write Ray's token (0600), unless it is there."""
    file = token_file(settings)
    if not file.exists():
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            out.write(secrets.token_hex(32))


def _keys() -> dict[str, str | None]:
    """Return, each to be left out, the names in the surroundings that no node is told the value of.

    Every actor inherits what Ray has; where the database, Redis and the platform are is not for them to know.
    What opens the store (such as `AWS_*`) stays: bytes go from the nodes straight there.
    """
    return {name: None for name in environment() if name.startswith("GENCTL_") or name in _OF_THE_DATABASE}


def _scratch(settings: Settings) -> str:
    """Make the folder for what actors write for a while; it goes with the runtime folder, whoever was killed."""
    home.prepare_runtime(settings.runtime_dir)
    folder = settings.runtime_dir / "scratch"
    folder.mkdir(exist_ok=True)
    return str(folder)


def part(settings: Settings, chosen: Mapping[str, int]) -> Part:
    """Return the part: our head node, or nothing to run when `GENCTL_RAY_ADDRESS` names another Ray."""
    if settings.ray_address:
        return Part("ray", detail=f"not ours: {settings.ray_address}")
    make_token(settings)
    folder = settings.runtime_dir / "ray"
    options = {
        "temp-dir": str(folder),
        "node-ip-address": ports.LOOPBACK,
        "port": str(chosen["ray"]),
        "ray-client-server-port": str(chosen["ray_client"]),
        "dashboard-agent-listen-port": str(chosen["ray_agent"]),
        # 0: the kernel chooses. Ray's own range is handed out without looking, so two homes would meet in it.
        "min-worker-port": "0",
        "max-worker-port": "0",
        "num-cpus": str(logical_cpus(os.cpu_count() or 1)),
        "object-store-memory": str(OBJECT_STORE_BYTES),
        "include-dashboard": "false",
        "include-log-monitor": "false",
        "log-style": "record",
        "log-color": "false",
    }
    argv = [sys.executable, "-P", "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"]
    argv += ["--no-monitor", *(f"--{name}={value}" for name, value in options.items())]
    told = {
        **_keys(),
        **_shared(settings),
        "RAY_ADDRESS": None,
        "TMPDIR": _scratch(settings),
        "DASHBOARD_METRIC_PORT": str(chosen["ray_dashboard_metrics"]),
        # By default it drains for 30 s when asked to stop. Jobs are drained by the dispatcher, before.
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        "PYTHONUNBUFFERED": "1",
    }
    raylet = folder / "session_latest" / "sockets" / "raylet"
    return Part(
        "ray",
        argv,
        told,
        ready=lambda: probes.port_answers(ports.LOOPBACK, chosen["ray"]) and probes.socket_answers(raylet),
        port=chosen["ray"],
        detail=f"{ports.LOOPBACK}:{chosen['ray']}",
        hint="`genctl down`, then `genctl up` starts it afresh on new ports when its own are taken.",
        deaths=3,
        start_seconds=120.0,
        stop_seconds=10.0,
    )
