"""What every use case is given: the wired parts, and time and chance as values."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from genplatform.catalog import Catalog, Transaction
from genplatform.domain.ids import RandBelow
from genplatform.domain.times import Clock
from genplatform.domain.tokens import node_secret
from genplatform.errors import Unavailable
from genplatform.queues.seam import Queues
from genplatform.spec import RecipeBook
from genplatform.store import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wiring:
    """The platform, wired. `secret` is its bearer token; `url` its origin as clients reach it.

    `folders` are those whose files a job may name by their paths. `clock` tells the time and may be put
    forward or back by whoever sets the machine's; `monotonic` only ever passes, and says nothing to
    another process.
    """

    catalog: Catalog
    queues: Queues
    store: Store
    recipes: RecipeBook
    secret: str
    clock: Clock
    randbelow: RandBelow
    url: str = ""
    folders: Sequence[str] = ()
    monotonic: Clock | None = None

    def steady(self) -> float:
        """Return seconds for measuring how long something takes in this process, whatever the clock is set to."""
        return (self.monotonic or self.clock)()

    def jitter(self) -> float:
        """Return a random share in [0, 1)."""
        return self.randbelow(1_000_000) / 1_000_000

    def node_secret(self, tx: Transaction) -> str:
        """Return the secret of the tokens of this record's runs and pools."""
        return node_secret(self.secret, tx.identity.incarnation())


@contextmanager
def hint() -> Iterator[None]:
    """Do something on Redis that is only a hint: when it cannot be reached, the reconciler does it later."""
    try:
        yield
    except Unavailable as error:
        log.warning("hint_not_sent", extra={"detail": error.message})


Effect = Callable[[], object]


class Effects:
    """What is to be done on Redis once the transaction has committed, in order.

    Each is a round trip, and a transaction may hold the ends of a hundred jobs: what is the same for
    many of them is done for all at once, in the place of the first.
    """

    def __init__(self) -> None:
        self._effects: list[Effect] = []
        self._together: dict[object, list[Any]] = {}

    def add(self, effect: Effect) -> None:
        """Do this after the commit."""
        self._effects.append(effect)

    def add_once(self, effect: Effect) -> None:
        """Do this after the commit, and after all that was added until now, however often it is added."""
        self._effects = [one for one in self._effects if one != effect]
        self._effects.append(effect)

    def add_each(self, name: object, act: Callable[[list[Any]], object], things: Iterable[Any]) -> None:
        """Do this after the commit with all the things that are given under its name, in one call."""
        known = self._together.get(name)
        if known is None:
            known = self._together[name] = []
            self._effects.append(lambda: act(known))
        known.extend(things)

    def run(self) -> None:
        """Do all of it; when Redis cannot be reached, the rest is left to the reconciler and not waited for."""
        with hint():
            for effect in self._effects:
                effect()
