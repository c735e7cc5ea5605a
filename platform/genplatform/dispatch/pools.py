"""Pools of generating actors: one a model version, as many workers as its open jobs were given."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from genplatform.catalog import JobRow
from genplatform.domain.job import Demand, JobKind
from genplatform.domain.keys import pool_actor
from genplatform.domain.states import JobState
from genplatform.engine.seam import POOL_ACTOR, Engine, Liveness
from genplatform.services import reconcile
from genplatform.services.context import Wiring
from genplatform.spec import demand, parse_stored

log = logging.getLogger(__name__)

PREFIX = "pool/"
PING_SECONDS = 2.0
# So long a worker may take to load its model before it takes its first work.
LOAD_SECONDS = 120.0


class Pools:
    """Which pool workers exist, and which should."""

    def __init__(self, w: Wiring, engine: Engine, api_url: str) -> None:
        self._w = w
        self._engine = engine
        self._api_url = api_url
        self._workers: dict[str, Demand] = {}
        self._missed: set[str] = set()
        self._silent: set[str] = set()
        self._idle: dict[str, float] = {}
        self._number = 0

    def know(self, actors: Iterable[str]) -> None:
        """Hold these actors for existing; one that two listings in a row lack is gone (a new one may lack in one)."""
        listed = {name for name in actors if name.startswith(PREFIX)}
        for name in listed - self._workers.keys():
            self._workers[name] = Demand()
        missing = self._workers.keys() - listed
        for name in missing & self._missed:
            self.forget(name)
        self._missed = missing - self._missed

    def tend(self, busy: Collection[str]) -> None:
        """Replace workers that take no work while work waits: those that are silent, and those that only idle.

        `busy` are the workers that hold a claim; these are looked after by their leases.
        """
        now = self._w.clock()
        waiting = {pool for pool in map(_pool, self._workers) if self._w.queues.offered(pool)}
        idle = [name for name in self._workers if name not in busy and _pool(name) in waiting]
        self._idle = {name: self._idle.get(name, now) for name in idle}
        alive = self._engine.liveness(idle, PING_SECONDS)
        silent = {name for name in idle if alive.get(name) is Liveness.SILENT}
        stuck = {name for name, since in self._idle.items() if now - since > LOAD_SECONDS}
        for name in sorted((silent & self._silent) | stuck):
            log.warning("pool_worker_replaced", extra={"actor": name, "silent": name in silent})
            self._engine.kill(name)
            self.forget(name)
        self._silent = silent

    def dismiss_idle(self, open_jobs: Iterable[JobRow]) -> None:
        """End the workers of pools that no open job uses: somebody waits for their place."""
        used = {job.pool for job in open_jobs}
        for name in [name for name in self._workers if _pool(name) not in used]:
            self._engine.kill(name)
            self.forget(name)

    def forget(self, actor: str) -> None:
        """Note that a worker is over."""
        self._workers.pop(actor, None)

    def reserved(self) -> tuple[float, float]:
        """Return the CPUs and GPUs that the workers hold."""
        return sum(d.cpus for d in self._workers.values()), sum(d.gpus for d in self._workers.values())

    def fill(self, open_jobs: Sequence[JobRow]) -> None:
        """Start the workers that open generate jobs still lack; those too many go when they find no work."""
        jobs = [j for j in open_jobs if _wants_workers(j)]
        if not jobs:
            return
        wanted: dict[str, int] = defaultdict(int)
        sizes: dict[str, Demand] = {}
        for job in jobs:
            pool = job.pool or ""
            wanted[pool] += job.workers
            sizes[pool] = demand(parse_stored(job.spec))
        lacking = {pool: n - len(self.of(pool)) for pool, n in wanted.items() if n > len(self.of(pool))}
        if not lacking:
            return
        orders = reconcile.pool_orders(self._w, [j for j in jobs if j.pool in lacking], self._api_url)
        for pool, order in orders.items():
            for _ in range(lacking[pool]):
                name = pool_actor(order["tenant"], pool, self._next())
                size = sizes[pool]
                self._engine.start(name, POOL_ACTOR, order | {"actor": name}, cpus=size.cpus, gpus=size.gpus)
                self._workers[name] = size
                log.info("pool_worker_started", extra={"actor": name, "pool": pool})

    def of(self, pool: str) -> list[str]:
        """Return a pool's workers."""
        return [name for name in self._workers if _pool(name) == pool]

    def all(self) -> list[str]:
        """Return every pool's workers."""
        return list(self._workers)

    def _next(self) -> int:
        # Milliseconds, and never twice: a restarted dispatcher must not name a new worker like an old one.
        self._number = max(self._number + 1, int(self._w.clock() * 1000))
        return self._number


def _pool(worker: str) -> str:
    return worker.split("/")[2]


def _wants_workers(job: JobRow) -> bool:
    return (
        job.kind == JobKind.GENERATE
        and job.pool is not None
        and job.job_state in (JobState.STARTING, JobState.RUNNING)
        and job.done < job.total
    )
