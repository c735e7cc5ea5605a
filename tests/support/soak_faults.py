"""What befalls a platform while it soaks: kills by chance, workers that sleep past their lease, and poison.

A job cannot kill its worker from within, for recipes are the platform's own. So `Poisoner` is its
will: it watches the record, and kills whichever worker holds a claim of a poison job.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable
from contextlib import suppress

import redis
from soak_clients import Ledger, quiet
from whole_platform import WholePlatform

from genplatform.catalog import Catalog
from genplatform.domain.keys import JobKey
from genplatform.domain.states import ShardState
from genplatform.engine.ray_engine import NAMESPACE, RayEngine
from genplatform.engine.ray_link import RayLink
from genplatform.errors import Unavailable
from genplatform.local import home, ports, ray_head
from genplatform.settings import environment

SHORTEST, LONGEST = 2.0, 6.0
# Longer than a worker's lease and the sweep after it, so that another has its work when it wakes.
ASLEEP = 16.0
LOOK = 0.1


class Killer:
    """Every few seconds, one fault of the kind that was rarest so far; what it did is in the ledger."""

    def __init__(self, platform: WholePlatform, ledger: Ledger, seed: int) -> None:
        self._platform, self._ledger = platform, ledger
        self._chance = random.Random(seed)
        self._asleep: dict[int, float] = {}
        self._elapsed = 0.0
        self._faults: dict[str, Callable[[], bool]] = {
            "killed dispatcher": lambda: self._kill_part("dispatcher"),
            "killed api": lambda: self._kill_part("api"),
            "killed redis": lambda: self._kill_part("redis"),
            "killed pool worker": lambda: self._signal_actor("PoolActor", signal.SIGKILL),
            "killed run": lambda: self._signal_actor("RunActor", signal.SIGKILL),
            "flushed redis": self._flush,
            "slept past its lease": self._put_to_sleep,
        }

    def __call__(self, over: threading.Event) -> None:
        while not over.wait(pause := self._chance.uniform(SHORTEST, LONGEST)):
            self._elapsed += pause
            self._wake(self._elapsed)
            # The rarest first, so that a short soak meets each; by chance among equals.
            kinds = sorted(self._faults, key=lambda kind: (self._ledger.happened[kind], self._chance.random()))
            for kind in kinds:
                if self._faults[kind]():
                    self._ledger.count(kind)
                    break
        self._wake(float("inf"))

    def _kill_part(self, name: str) -> bool:
        with suppress(OSError, ValueError, StopIteration, TypeError, KeyError):
            os.kill(self._platform.part(name), signal.SIGKILL)
            return True
        return False

    def _signal_actor(self, title: str, number: signal.Signals) -> bool:
        pids = [pid for pid in self._platform.actors(title) if pid not in self._asleep]
        if not pids:
            return False
        with suppress(ProcessLookupError):
            os.kill(self._chance.choice(pids), number)
            return True
        return False

    def _put_to_sleep(self) -> bool:
        pids = [pid for pid in self._platform.actors("PoolActor") if pid not in self._asleep]
        # One at a time: somebody must be there to take its work over.
        if not pids or self._asleep:
            return False
        pid = self._chance.choice(pids)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            self._asleep[pid] = self._elapsed + ASLEEP
            return True
        return False

    def _wake(self, now: float) -> None:
        for pid in [pid for pid, until in self._asleep.items() if until <= now]:
            del self._asleep[pid]
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _flush(self) -> bool:
        try:
            redis.Redis.from_url(self._platform.settings.redis).flushall()
        except redis.RedisError:
            return False
        return True


class Poisoner:
    """Kills every worker that holds a claim of a poison job."""

    def __init__(self, platform: WholePlatform, ledger: Ledger) -> None:
        self._platform, self._ledger = platform, ledger
        self._killed: set[tuple[str, int, int]] = set()

    def __call__(self, over: threading.Event) -> None:
        catalog = Catalog(self._platform.settings.database)
        engine = _engine(self._platform)
        try:
            while not over.wait(LOOK):
                with suppress(Unavailable):
                    self._look(catalog, engine)
        finally:
            engine.close()
            catalog.close()

    def _look(self, catalog: Catalog, engine: RayEngine) -> None:
        held: dict[tuple[str, int, int], str] = {}
        with catalog.read() as tx:
            for job_id in self._ledger.poison():
                job = tx.jobs.by_id(*JobKey("default", job_id))
                for shard in tx.shards.in_state(job.id, ShardState.CLAIMED) if job is not None else ():
                    held[job_id, shard.number, shard.claim] = shard.worker or ""
        for claim, worker in held.items():
            if claim not in self._killed and quiet(lambda worker=worker: engine.kill(worker)):
                self._killed.add(claim)
                self._ledger.count("killed by poison")


def _engine(platform: WholePlatform) -> RayEngine:
    """A way of our own to the platform's Ray."""
    chosen = {name: int(port) for name, port in home.read_json(platform.settings.home / "ports.json").items()}
    told = ray_head.client_environment(platform.settings, chosen)
    address = f"{ports.LOOPBACK}:{chosen['ray']}"
    return RayEngine(address, link=RayLink(address, NAMESPACE, environment(**told)))
