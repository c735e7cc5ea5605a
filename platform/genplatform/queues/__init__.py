"""The hand-off: the only home of redis. What lies here is a hint; the catalog is the record."""

from __future__ import annotations

import time

from genplatform.errors import SettingsError
from genplatform.queues.memory import MemoryQueues
from genplatform.queues.redis_queues import RedisQueues
from genplatform.queues.seam import Queues, Reports
from genplatform.queues.server import redacted

__all__ = ["MemoryQueues", "Queues", "RedisQueues", "Reports", "connect"]

_SERVERS = ("redis://", "rediss://", "unix://")


def connect(url: str) -> Queues:
    """Return the queues that `url` names, connected with the first call.

    `redis://`, `rediss://` and `unix://` name a server; `memory://` makes queues of this
    process alone, new ones with every call. Anything else raises SettingsError.
    """
    if url.startswith(_SERVERS) and url.partition("?")[0] not in _SERVERS:
        return RedisQueues(url)
    if url == "memory://":
        return MemoryQueues(time.time)
    raise SettingsError(
        f"The Redis URL {redacted(url)!r} names no server.",
        "Set GENCTL_REDIS_URL to redis://host:port/db, rediss://host:port/db or unix:///path/of/the.sock, "
        "or unset it to use the local server.",
    )
