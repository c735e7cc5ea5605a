"""A long day of a platform, shortened: clients that submit without rest, and a ledger of what they were promised.

`Ledger` keeps every acknowledged word. `Clients` submit jobs of one to four shards, submit a
tenth of them twice, cancel some, and mark a few as poison, which `soak_faults` kills wherever
they are claimed. `tests/soak` compares what the platform then has with the ledger.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from whole_platform import WholePlatform

from genctl import Client
from genplatform.errors import Conflict, Unavailable

CLIENTS = 3
# So many jobs of one client may be under way: more would only wait in the line.
MOST_OPEN = 30
DUPLICATES, CANCELS, POISON, TRAININGS = 0.10, 0.05, 0.02, 0.02
# A short soak meets these too, whatever is drawn.
FIRST = {(0, 1): "poison", (1, 1): "train"}
SHARD = 64
POISON_SHARD = 16_384  # one shard that takes seconds: its worker is killed before it can be done
PATIENCE = 120.0
PAUSE = 0.05

GENERATE = "kind: generate\nname: {name}\nmodel: noise@1\ncount: {count}\nbatch_size: {shard}\nseed: {seed}\n"
TRAIN = "kind: train\nname: {name}\nrecipe: gan\nbudget: {{steps: 150}}\ncheckpoint: {{every: 50}}\nseed: {seed}\n"
RETRY = "retry: {max: 100}\n"  # faults are many and near each other here; what they cost is counted, not failed


@dataclass
class Promise:
    """What one submit was acknowledged with, and what was asked of it since."""

    job_id: str
    kind: str  # generate | train | poison
    items: int
    repeated: int = 0
    cancelled: bool = False
    published_at_cancel: int = 0


@dataclass
class Ledger:
    """Every promise by its job's id. Safe to use from many threads."""

    promises: dict[str, Promise] = field(default_factory=dict)
    happened: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, promise: Promise) -> None:
        with self._lock:
            if promise.job_id in self.promises:
                self.broken.append(f"two submits with keys of their own were given {promise.job_id}")
            self.promises[promise.job_id] = promise

    def count(self, what: str) -> None:
        with self._lock:
            self.happened[what] += 1

    def breaks(self, words: str) -> None:
        with self._lock:
            self.broken.append(words)

    def poison(self) -> set[str]:
        """The ids of the jobs that are to kill their workers."""
        with self._lock:
            return {p.job_id for p in self.promises.values() if p.kind == "poison"}


class Clients:
    """Threads that submit until they are told to stop. Each draws from a seed of its own."""

    def __init__(self, platform: WholePlatform, ledger: Ledger, seed: int, prefix: str) -> None:
        self._platform, self._ledger, self._prefix = platform, ledger, prefix
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._guarded, args=(n, random.Random(f"{seed}:{n}")), daemon=True)
            for n in range(CLIENTS)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each finish what it is at."""
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE * 2)

    def _guarded(self, number: int, chance: random.Random) -> None:
        try:
            with Client(settings=self._platform.settings, patience=PATIENCE) as client:
                self._work(client, number, chance)
        except Exception as error:
            self._ledger.breaks(f"client {number} was told {type(error).__name__}: {error}")

    def _work(self, client: Client, number: int, chance: random.Random) -> None:
        mine: list[str] = []
        for turn in range(1_000_000):
            if self._over.is_set():
                return
            mine = self._still_open(client, mine)
            kind = FIRST.get((number, turn)) or _drawn(chance)
            promise = self._submit(client, chance, f"{self._prefix}-{number}-{turn}", kind)
            mine.append(promise.job_id)
            if promise.kind != "poison" and chance.random() < CANCELS:
                self._cancel(client, promise)

    def _still_open(self, client: Client, mine: list[str]) -> list[str]:
        while len(mine) >= MOST_OPEN and not self._over.wait(PAUSE):
            over = ("succeeded", "failed", "cancelled")
            mine = [job_id for job_id in mine if client.job(job_id)["state"] not in over]
        return mine

    def _submit(self, client: Client, chance: random.Random, name: str, kind: str) -> Promise:
        items = SHARD * chance.randint(1, 4) - chance.randint(0, SHARD - 1)
        if kind == "poison":
            items = POISON_SHARD
        seed = chance.randrange(1_000_000)
        shard = max(SHARD, POISON_SHARD if kind == "poison" else 0)
        text = (
            TRAIN.format(name=name, seed=seed)
            if kind == "train"
            else GENERATE.format(name=name, count=items, shard=shard, seed=seed)
        )
        text += "" if kind == "poison" else RETRY
        (job,) = client.submit(text, key=name)
        promise = Promise(job["id"], kind, 0 if kind == "train" else items)
        self._ledger.note(promise)
        self._ledger.count(f"{kind} submitted")
        while chance.random() < DUPLICATES:
            (again,) = client.submit(text, key=name)
            promise.repeated += 1
            self._ledger.count("submitted again")
            if again["id"] != promise.job_id:
                self._ledger.breaks(f"key {name} is {promise.job_id} and {again['id']}")
        return promise

    def _cancel(self, client: Client, promise: Promise) -> None:
        try:
            job: dict[str, Any] = client.cancel(promise.job_id)
        except Conflict:
            self._ledger.count("cancelled too late")
            return
        promise.cancelled = True
        promise.published_at_cancel = (job["outputs"] or {"count": 0})["count"]
        self._ledger.count("cancelled")


def _drawn(chance: random.Random) -> str:
    drawn = chance.random()
    return "poison" if drawn < POISON else "train" if drawn < POISON + TRAININGS else "generate"


@contextmanager
def soaking(clients: Clients, *others: Callable[[threading.Event], None]) -> Iterator[threading.Event]:
    """Let clients and `others` work until the block ends; each of these stops when its event is set."""
    over = threading.Event()
    threads = [threading.Thread(target=other, args=(over,), daemon=True) for other in others]
    clients.start()
    for thread in threads:
        thread.start()
    try:
        yield over
    finally:
        over.set()
        clients.stop()
        for thread in threads:
            thread.join(PATIENCE)


def quiet(act: Callable[[], object]) -> bool:
    """Do something that the platform may be too hurt to do now; tell whether it did."""
    try:
        act()
    except Unavailable:
        return False
    return True
