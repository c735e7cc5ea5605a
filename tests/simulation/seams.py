"""The seams as processes reach them: the shipped parts, with trouble before and after every call."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hand_engine import HandEngine
from snapshot import Ground
from trouble import Trouble, When

from genplatform.catalog import Catalog, Transaction
from genplatform.engine.seam import Engine, Liveness
from genplatform.errors import NotFound, Unavailable
from genplatform.queues.memory import MemoryQueues
from genplatform.queues.seam import Queues
from genplatform.store import Stored


def _methods(protocol: type) -> frozenset[str]:
    return frozenset(name for name in vars(protocol) if not name.startswith("_")) - {"close"}


QUEUES = _methods(Queues)
ENGINE = _methods(Engine)
STORE = frozenset({"put_bytes", "put_file", "read_bytes", "remove", "list"})
CATALOG = frozenset({"read", "write", "commit"})
# Every place where a process may die: before and after each call over a seam.
PLACES = sorted(
    f"{when} {seam}.{method}"
    for seam, methods in {"queues": QUEUES, "engine": ENGINE, "store": STORE, "catalog": CATALOG}.items()
    for method in methods
    for when in When
)


class Seamed:
    """Something outside of a process: each call of these methods may be struck."""

    def __init__(self, name: str, inner: Any, methods: Collection[str], trouble: Trouble) -> None:
        self._name, self._inner, self._methods, self._trouble = name, inner, methods, trouble

    def __getattr__(self, method: str) -> Any:
        act = getattr(self._inner, method)
        if method not in self._methods:
            return act
        place, strike = f"{self._name}.{method}", self._trouble.strike

        def call(*args: Any, **kwargs: Any) -> Any:
            strike(place, When.BEFORE)
            answer = act(*args, **kwargs)
            strike(place, When.AFTER)
            return answer

        setattr(self, method, call)
        return call


def seamed_queues(inner: MemoryQueues, trouble: Trouble) -> Any:
    """Return the queues as processes reach them."""
    return Seamed("queues", inner, QUEUES, trouble)


def seamed_store(inner: Shelf, trouble: Trouble) -> Any:
    """Return the store as processes reach it."""
    return Seamed("store", inner, STORE, trouble)


class SeamedEngine(Seamed):
    """The engine as one dispatcher reaches it. What it heard of deaths it holds in its own memory."""

    def __init__(self, inner: HandEngine, trouble: Trouble) -> None:
        super().__init__("engine", inner, ENGINE - {"deaths", "liveness", "adopt"}, trouble)

    def deaths(self) -> Sequence[str]:
        """Return who ended; an answer is lost only with the process."""
        self._trouble.strike("engine.deaths", When.BEFORE)
        return self._inner.deaths()

    def liveness(self, names: Sequence[str], seconds: float) -> dict[str, Liveness]:
        """Ask for signs of life; where the engine cannot be reached nothing is known."""
        try:
            self._trouble.strike("engine.liveness", When.BEFORE)
            answer = self._inner.liveness(names, seconds)
            self._trouble.strike("engine.liveness", When.AFTER)
        except Unavailable:
            return dict.fromkeys(names, Liveness.UNKNOWN)
        return answer


def _repositories(connection: Any) -> Transaction:
    return Transaction(connection)


class SeamedCatalog(Catalog):
    """The catalog, with trouble at the start, before the commit and after it, when only the answer is lost."""

    def __init__(self, ground: Ground, trouble: Trouble, committed: Callable[[], object]) -> None:
        self._ground = ground
        self._trouble = trouble
        self._committed = committed

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Open a transaction that only reads."""
        self._trouble.strike("catalog.read", When.BEFORE)
        with self._trouble.transaction(), self._ground.transaction(write=False) as connection:
            yield _repositories(connection)
        self._trouble.strike("catalog.read", When.AFTER)

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """Open a transaction that writes, and let what it came to be looked at."""
        self._trouble.strike("catalog.write", When.BEFORE)
        with self._trouble.transaction(), self._ground.transaction(write=True) as connection:
            yield _repositories(connection)
            self._trouble.strike("catalog.commit", When.BEFORE)
        self._committed()
        self._trouble.strike("catalog.commit", When.AFTER)


class Shelf:
    """A store in memory: what services and nodes ask of one, byte by byte."""

    url = "memory://simulation"

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def put_bytes(self, key: str, data: bytes) -> Stored:
        self.objects[key] = data
        return Stored(key, hashlib.sha256(data).hexdigest(), len(data))

    def put_file(self, path: Path | str, key: str) -> Stored:
        return self.put_bytes(key, Path(path).read_bytes())

    def read_bytes(self, key: str) -> bytes:
        if key not in self.objects:
            raise NotFound(f"The store has no object {key}.")
        return self.objects[key]

    def remove(self, key: str) -> None:
        for name in [n for n in self.objects if n == key or n.startswith(f"{key}/")]:
            del self.objects[name]

    def list(self, prefix: str = "") -> list[str]:
        return sorted(name for name in self.objects if not prefix or name.startswith(f"{prefix}/"))

    def uri(self, key: str) -> str:
        return f"{self.url}/{key}"

    def sweep(self, before: float) -> int:
        return 0
