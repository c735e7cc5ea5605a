"""Loopback ports: chosen free, kept in the home so that addresses stay the same from one `up` to the next."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from genplatform.errors import LocalPlatformError
from genplatform.local import home

LOOPBACK = "127.0.0.1"
# Ports that other programs are known by; the kernel may well offer one of them.
AVOIDED = frozenset({6379, 8000, 8265, 10001})


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` of the loopback address now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def choose(names: Sequence[str], file: Path) -> dict[str, int]:
    """Return a free port for each name: the one kept in `file` where it is still free, else a new one, kept now."""
    kept = {name: port for name, port in home.read_json(file).items() if isinstance(port, int)}
    chosen: dict[str, int] = {}
    with contextlib.ExitStack() as held:
        for name in names:
            port = kept.get(name, 0)
            if not 1024 <= port <= 65535 or port in chosen.values() or not is_free(port):
                port = _fresh(held, {*chosen.values(), *kept.values()})
            chosen[name] = port
    if any(kept.get(name) != port for name, port in chosen.items()):
        home.write_json(file, {**kept, **chosen})
    return chosen


def _fresh(held: contextlib.ExitStack, taken: set[int]) -> int:
    """Return a port the kernel offers; its socket stays open in `held`, so that it is not offered twice."""
    while True:
        probe = held.enter_context(socket.socket())
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        if port not in AVOIDED and port not in taken:
            return port


def refuse_if_in_use(port: int) -> None:
    """Raise, naming the port and who holds it, when a person asked for a port that is not free."""
    if not 1 <= port <= 65535:
        raise LocalPlatformError(f"There is no port {port}.", "Ask for one from 1024 to 65535.")
    if is_free(port):
        return
    holder = holder_of(port)
    by = f" by {holder}" if holder else ""
    raise LocalPlatformError(
        f"Port {port} on {LOOPBACK} is in use{by}.",
        "Ask for another with --port, or leave --port out and a free one is chosen.",
    )


def holder_of(port: int) -> str:
    """Return who listens on `port`, as `name (pid N)`; empty when that cannot be seen."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            address: Any = connection.laddr  # an empty tuple, or (ip, port)
            if connection.status == psutil.CONN_LISTEN and address and address.port == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return ""
