"""Pools of generating actors: one a model version, as many workers as its open jobs were given."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from genplatform.catalog import JobRow
from genplatform.dispatch.sizes import size_of
from genplatform.domain.job import WITH_ACTOR, Demand, JobKind
from genplatform.domain.keys import pool_actor
from genplatform.domain.retry import FIRST_DELAY
from genplatform.domain.states import JobState
from genplatform.engine.seam import POOL_ACTOR, Engine, Liveness
from genplatform.errors import GenctlError, LostLeadership, Unavailable
from genplatform.services import reconcile
from genplatform.services.context import Wiring
from genplatform.services.joining import Room
from genplatform.services.runs import MOST_CLAIMS, POOL_IDLE_SECONDS, START_SECONDS

log = logging.getLogger(__name__)

PREFIX = "pool/"
PING_SECONDS = 2.0
# So long a worker may take to load its model before it takes its first work.
LOAD_SECONDS = 120.0
# So many shards of small jobs are kept on offer a worker: what it makes while the dispatcher goes round.
STOCK = 4 * MOST_CLAIMS
# A worker that ends before it could have idled so long did not leave for want of work.
YOUNG_SECONDS = POOL_IDLE_SECONDS
LONGEST_PAUSE = 8.0
# Young ends so far apart are no row of them.
ROW_SECONDS = 60.0


class Pools:
    """Which pool workers exist, and which should."""

    def __init__(self, w: Wiring, engine: Engine, api_url: str) -> None:
        self._w = w
        self._engine = engine
        self._api_url = api_url
        self._workers: dict[str, Demand | None] = {}  # None: another dispatcher knew its size
        self._young: dict[str, tuple[int, float]] = {}
        self._missed: set[str] = set()
        self._silent: set[str] = set()
        self._answered: set[str] = set()
        self._idle: dict[str, float] = {}
        self._number = 0

    def know(self, actors: Iterable[str]) -> None:
        """Hold these actors for existing; one that two listings in a row lack is gone (a new one may lack in one)."""
        listed = {name for name in actors if name.startswith(PREFIX)}
        for name in listed - self._workers.keys():
            self._workers[name] = None
        missing = self._workers.keys() - listed
        for name in missing & self._missed:
            self.forget(name)
        self._missed = missing - self._missed

    def tend(self, busy: Collection[str]) -> None:
        """Replace workers that take no work while work waits: those that are silent, and those that only idle.

        `busy` are the workers that hold a claim; these are looked after by their leases.
        """
        now = self._w.steady()
        waiting = {pool for pool in map(_pool, self._workers) if self._w.queues.offered(pool)}
        idle = [name for name in self._workers if name not in busy and _pool(name) in waiting]
        self._idle = {name: self._idle.get(name, now) for name in idle}
        alive = self._engine.liveness(idle, PING_SECONDS)
        answered = self._answered | {name for name, state in alive.items() if state is Liveness.ALIVE}
        self._answered = answered & self._workers.keys()
        # On a busy machine a process takes long to start: one that has not answered yet is not silent, but new.
        silent = {name for name in idle if alive.get(name) is Liveness.SILENT and self._should_answer(name)}
        stuck = {name for name, since in self._idle.items() if now - since > LOAD_SECONDS}
        for name in sorted((silent & self._silent) | stuck):
            log.warning("pool_worker_replaced", extra={"actor": name, "silent": name in silent})
            self._engine.kill(name)
            self.forget(name)
        self._silent = silent

    def _should_answer(self, name: str) -> bool:
        return name in self._answered or self._w.clock() - _started(name) > START_SECONDS

    def idle(self, open_jobs: Iterable[JobRow]) -> dict[str, Demand]:
        """Return the workers of pools that no open job uses, with their sizes: warm, and room for whoever is next."""
        used = {job.pool for job in open_jobs}
        return {name: size or Demand() for name, size in self._workers.items() if _pool(name) not in used}

    def make_room(self, open_jobs: Sequence[JobRow]) -> None:
        """End as many idle workers as stand in the way of what open jobs were given, and no more."""
        idle = self.idle(open_jobs)
        if not idle:
            return
        seen = self._engine.capacity()
        running = [(job.workers, size_of(job)) for job in open_jobs if job.kind in WITH_ACTOR]
        coming = [size for sizes in self.lacking(open_jobs).values() for size in sizes]
        ours = [size or Demand() for size in self._workers.values()]
        held = _sum(ours) + sum(n * size.cpus for n, size in running)
        others = max(0.0, seen.cpus - seen.free_cpus - held)
        over = held + _sum(coming) + others - seen.cpus
        gpus_over = sum(s.gpus for s in ours + coming) + sum(n * s.gpus for n, s in running) - seen.gpus
        for name, size in idle.items():
            if over <= 0 and gpus_over <= 0:
                return
            self._engine.kill(name)
            self.forget(name)
            over -= size.cpus
            gpus_over -= size.gpus

    def forget(self, actor: str) -> None:
        """Note that a worker is over because it was ended."""
        self._workers.pop(actor, None)

    def ended(self, actor: str) -> str | None:
        """Note that a worker is over by itself; returns its pool when it ended young, as those that cannot start do."""
        if actor not in self._workers:
            return None
        del self._workers[actor]
        if self._w.clock() - _started(actor) >= YOUNG_SECONDS:
            return None
        self._note_young_end(_pool(actor))
        return _pool(actor)

    def _note_young_end(self, pool: str) -> None:
        now = self._w.steady()
        ends, at = self._young.get(pool, (0, now))
        # What is no row any more says nothing, and pools come and go.
        self._young = {name: row for name, row in self._young.items() if now - row[1] < ROW_SECONDS}
        self._young[pool] = (ends + 1 if now - at < ROW_SECONDS else 1, now)

    def reserved(self) -> tuple[float, float]:
        """Return the CPUs and GPUs that the workers this process started hold; the engine sees those of others."""
        known = [size or Demand() for size in self._workers.values()]
        return sum(size.cpus for size in known), sum(size.gpus for size in known)

    def rooms(self) -> dict[str, Room]:
        """Return, a pool with workers, how many shards more these could be given to have work for a while."""
        sizes: dict[str, list[Demand]] = defaultdict(list)
        for name, size in self._workers.items():
            sizes[_pool(name)].append(size or Demand())
        stock = {pool: STOCK * len(there) - self._w.queues.offered(pool) for pool, there in sizes.items()}
        # The smallest: any of them may be the one to take it.
        return {
            pool: Room(stock[pool], min(there, key=lambda one: (one.gpus, one.cpus))) for pool, there in sizes.items()
        }

    def lacking(self, open_jobs: Iterable[JobRow]) -> dict[str, list[Demand]]:
        """Return the sizes of the workers that each pool lacks of those its open jobs were given."""
        wanted: dict[str, Counter[Demand]] = defaultdict(Counter)
        joined: dict[str, Demand] = {}
        for job in open_jobs:
            if _wants_workers(job) and job.pool is not None:
                wanted[job.pool][size_of(job)] += job.workers
                if not job.workers:
                    joined.setdefault(job.pool, size_of(job))
        for pool, size in joined.items():
            if not wanted[pool].total():
                wanted[pool][size] = 1  # those that they joined are over, and so may be the workers
        lacking: dict[str, list[Demand]] = {}
        for pool, sizes in wanted.items():
            there = [self._workers[name] for name in self.of(pool)]
            short = list((sizes - Counter(size for size in there if size is not None)).elements())
            # One of unknown size is taken for any of those that are short.
            lacking[pool] = short[there.count(None) :]
        return {pool: sizes for pool, sizes in lacking.items() if sizes}

    def fill(self, open_jobs: Sequence[JobRow], avoid: Collection[str] = ()) -> dict[str, GenctlError]:
        """Start the workers that open generate jobs lack and can use; returns, a pool, why it cannot have any.

        They are placed on none of the nodes to `avoid`.

        Workers that are too many go when they find no work.
        """
        lacking = {pool: sizes for pool, sizes in self.lacking(open_jobs).items() if not self._pausing(pool)}
        if not lacking:
            return {}
        jobs = [job for job in open_jobs if job.pool in lacking]
        shards = reconcile.open_shards(self._w, jobs)
        refused: dict[str, GenctlError] = {}
        for pool, order in reconcile.pool_orders(self._w, jobs, self._api_url).items():
            useful = max(0, shards[pool] - len(self.of(pool)))
            for size in lacking[pool][:useful]:
                try:
                    self._start(pool, order, size, avoid)
                except (Unavailable, LostLeadership):
                    raise
                except GenctlError as error:
                    refused[pool] = error
                    break
        return refused

    def _start(self, pool: str, order: Mapping[str, object], size: Demand, avoid: Collection[str]) -> None:
        name = pool_actor(str(order["tenant"]), pool, self._next())
        # Known before it is asked for: when the answer is lost, the listing tells whether it is there.
        self._workers[name] = size
        try:
            of_its_own = {**order, "actor": name}
            self._engine.start(name, POOL_ACTOR, of_its_own, cpus=size.cpus, gpus=size.gpus, avoid=avoid)
        except Unavailable:
            raise
        except GenctlError:
            self.forget(name)
            self._note_young_end(pool)
            raise
        log.info("pool_worker_started", extra={"actor": name, "pool": pool})

    def _pausing(self, pool: str) -> bool:
        """Tell whether a pool whose workers end young, one after the other, is to wait before its next one."""
        ends, at = self._young.get(pool, (0, 0.0))
        pause = 0.0 if ends < 2 else min(LONGEST_PAUSE, FIRST_DELAY * 2.0 ** min(ends - 2, 10))
        return self._w.steady() - at < pause

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


def _sum(sizes: Iterable[Demand]) -> float:
    return sum(size.cpus for size in sizes)


def _pool(worker: str) -> str:
    return worker.split("/")[2]


def _started(worker: str) -> float:
    """Return when a worker was started: its number says so."""
    number = worker.rsplit("/", 1)[-1]
    return int(number) / 1000 if number.isdecimal() and len(number) < 16 else 0.0


def _wants_workers(job: JobRow) -> bool:
    return (
        job.kind == JobKind.GENERATE
        and job.pool is not None
        and job.job_state in (JobState.STARTING, JobState.RUNNING)
        and job.done < job.total
    )
