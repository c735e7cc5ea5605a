"""Offers: claims that wait are woken when shards are offered to their pool, instead of asking again and again."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice

from genplatform.errors import Unavailable
from genplatform.queues import Queues

log = logging.getLogger(__name__)

TROUBLE_SECONDS = 1.0


class Offers:
    """Listens in a thread of its own, and wakes in the event loop: as many who wait as there are new shards.

    Whoever waits asks again now and then all the same: what is offered while Redis is away is not heard.
    """

    def __init__(self, queues: Queues) -> None:
        self._queues = queues
        self._waiting: dict[str, dict[asyncio.Event, None]] = defaultdict(dict)  # those that wait longest come first
        self._over = threading.Event()

    def listen(self) -> None:
        """Begin to listen; called in the event loop."""
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._listen, args=(loop,), name="offers", daemon=True).start()

    def close(self) -> None:
        """Listen no more."""
        self._over.set()

    @contextmanager
    def waiting(self, pool: str) -> Iterator[asyncio.Event]:
        """Give an event that is set when shards are offered to the pool."""
        mine = asyncio.Event()
        self._waiting[pool][mine] = None
        try:
            yield mine
        finally:
            del self._waiting[pool][mine]
            if not self._waiting[pool]:
                del self._waiting[pool]

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        def heard(pool: str, count: int) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._wake, pool, count)

        told = ""
        while not self._over.is_set():
            try:
                self._queues.hear_offers(heard, self._over)
            except Unavailable as error:
                if error.message != told:  # an outage is told once, and not each second
                    told = error.message
                    log.warning("offers_not_heard", extra={"detail": told})
                self._over.wait(TROUBLE_SECONDS)

    def _wake(self, pool: str, count: int) -> None:
        asleep = (one for one in self._waiting.get(pool, ()) if not one.is_set())
        for one in list(islice(asleep, count)):
            one.set()
