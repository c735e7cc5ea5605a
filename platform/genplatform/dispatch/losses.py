"""Losses: workers that died, fell silent, or never came; and actors that nobody needs.

Only knowledge of an end closes a Run. An actor that answers is alive even if its heartbeats do
not come through (the API may be down), and an engine that cannot be asked says nothing at all.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from genplatform.catalog import JobRow
from genplatform.dispatch import deaths
from genplatform.dispatch.avoiding import Avoiding
from genplatform.dispatch.hearing import Hearing
from genplatform.dispatch.pools import Pools
from genplatform.domain.job import WITH_ACTOR, JobKind
from genplatform.domain.keys import RUN_PREFIX, ClaimKey, LeaseKey, RunKey
from genplatform.domain.retry import Cause
from genplatform.domain.states import JobState
from genplatform.domain.times import LEASE_SECONDS
from genplatform.engine.seam import Death, Engine, Liveness
from genplatform.services import claims, reconcile, runs
from genplatform.services.context import Wiring
from genplatform.services.endings import Ending, close_run

log = logging.getLogger(__name__)

PING_SECONDS = 2.0
BATCH = 1000
# So often the lease of a claim is lengthened for a worker that answers pings and sends no heartbeat for it.
MOST_REGRANTS = 5
UNHELD = Ending(Cause.NODE_LOST, "Its worker lives and does not speak of it.")
SILENT = Ending(Cause.NODE_LOST, "Its worker fell silent.", died=True)


class Losses:
    """Finds what was lost and has it closed or offered again."""

    def __init__(self, w: Wiring, engine: Engine, pools: Pools, hearing: Hearing, avoiding: Avoiding) -> None:
        self._w = w
        self._engine = engine
        self._pools = pools
        self._hearing = hearing
        self._avoiding = avoiding
        self._missed: set[RunKey] = set()
        self._dead: dict[str, Death] = {}
        self._young: dict[str, str] = {}  # those of the dead that ended young, and their pools
        self._unfit: dict[str, str] = {}
        self._regrants: Counter[ClaimKey] = Counter()

    def deaths(self, term: int, open_jobs: Sequence[JobRow]) -> None:
        """Close what actors that just ended still held open."""
        for death in self._engine.deaths():
            self._dead[str(death)] = death
            pool = self._pools.ended(str(death))
            if pool is not None and death.end in deaths.UNFIT:
                self._young[str(death)] = pool
        # A death is told once: it is kept until the record has it, whatever cannot be reached meanwhile.
        for name, death in list(self._dead.items()):
            key = RunKey.parse(name.removeprefix(RUN_PREFIX)) if name.startswith(RUN_PREFIX) else None
            if key is not None:
                self._close(term, key, deaths.of_run(death, key.run, starting=_starting(open_jobs, key)))
                del self._dead[name]
        if self._dead:
            self._close_claims(term, open_jobs)
        if self._unfit:
            self._close_unstarted(term)

    def _close_claims(self, term: int, open_jobs: Sequence[JobRow]) -> None:
        """End what dead workers of pools had claimed; those that had nothing and ended young could not work at all."""
        claims = reconcile.claims_of(self._w, _generating(open_jobs))
        held = {claim: self._dead[worker] for claim, worker in claims.items() if worker in self._dead}
        endings = {claim: deaths.of_claim(death) for claim, death in held.items()}
        self._release(term, endings)
        for claim, ending in endings.items():
            if ending.cause is Cause.NODE_LOST:
                self._avoiding.note_death(held[claim].node, claim.job_id)
        for name in self._young.keys() - set(held.values()):
            self._unfit[self._young[name]] = self._dead[name].message
        self._dead.clear()
        self._young.clear()

    def _close_unstarted(self, term: int) -> None:
        """Close the Runs that still wait for the first word of a pool whose workers end as soon as they start."""
        for job in reconcile.open_jobs(self._w):
            if job.pool in self._unfit and job.job_state is JobState.STARTING:
                message = f"A worker of its pool is gone before it took work. {self._unfit[job.pool]}".strip()
                self._close(term, job.run_key, Ending(Cause.START_FAILED, message))
        self._unfit.clear()

    def sweep(self, term: int, open_jobs: Sequence[JobRow]) -> None:
        """Look after every lease that has expired."""
        expired = self._w.queues.expired(BATCH)
        if not expired:
            return
        open_runs = {job.run_key for job in open_jobs}
        claims = reconcile.claims_of(self._w, _generating(open_jobs))
        stale = [key for key in expired if key not in open_runs and key not in claims]
        self._w.queues.release(stale)
        actors = {key: key.actor for key in expired if isinstance(key, RunKey) and key in open_runs}
        holders = {key: claims[key] for key in expired if isinstance(key, ClaimKey) and key in claims}
        alive = self._engine.liveness(sorted({*actors.values(), *holders.values()}), PING_SECONDS)
        kept = [k for k, actor in (actors | holders).items() if alive.get(actor) is Liveness.ALIVE]
        self._hearing.unheard({key.job for key in kept}, self._w.steady())
        unheld = self._unheld(kept, claims)
        self._w.queues.grant([key for key in kept if key not in unheld], LEASE_SECONDS)
        self._release(term, dict.fromkeys(unheld, UNHELD))
        over = (Liveness.GONE, Liveness.SILENT)
        for run, actor in actors.items():
            if alive.get(actor) in over:
                self._lose(term, run, actor, open_jobs)
        lost = [claim for claim, worker in holders.items() if alive.get(worker) in over]
        for worker in sorted({holders[claim] for claim in lost}):
            self._engine.kill(worker)
            self._pools.forget(worker)
        self._release(term, dict.fromkeys(lost, SILENT))

    def orphans(self, term: int, open_jobs: Sequence[JobRow], actors: Iterable[str]) -> None:
        """End actors that no open Run needs; close Runs whose actor is missing twice in a row."""
        existing = set(actors)
        needed = {job.run_key for job in open_jobs if job.kind in WITH_ACTOR}
        for name in sorted(existing):
            if name.startswith(RUN_PREFIX) and RunKey.parse(name.removeprefix(RUN_PREFIX)) not in needed:
                self._engine.kill(name)
                log.info("stray_actor_ended", extra={"actor": name})
        missing = {key for key in needed if key.actor not in existing}
        for key in sorted(missing & self._missed):
            self._close(term, key, Ending(_cause(open_jobs, key), f"Run {key.run} has no worker."))
        self._missed = missing - self._missed

    def _unheld(self, kept: Iterable[LeaseKey], claims: Iterable[ClaimKey]) -> list[ClaimKey]:
        """Return the claims whose workers answer and have let them expire again and again.

        An answer to a claim that was lost on its way leaves a claim that nobody works on.
        """
        self._regrants = Counter({c: n for c, n in self._regrants.items() if c in set(claims)})
        expired_again = [key for key in kept if isinstance(key, ClaimKey)]
        self._regrants.update(expired_again)
        return [claim for claim in expired_again if self._regrants[claim] > MOST_REGRANTS]

    def _lose(self, term: int, run: RunKey, actor: str, open_jobs: Sequence[JobRow]) -> None:
        self._engine.kill(actor)
        if _starting(open_jobs, run):
            ending = Ending(Cause.START_FAILED, f"Run {run.run} did not start in {runs.START_SECONDS:.0f} s.")
        else:
            message = f"The worker of run {run.run} fell silent for {LEASE_SECONDS:.0f} s."
            ending = Ending(Cause.NODE_LOST, message, died=True)
        self._close(term, run, ending)

    def _close(self, term: int, key: RunKey, ending: Ending) -> None:
        reached = close_run(self._w, key, ending, term=term)
        if reached is not None:
            self._avoiding.note_loss()
            said = {"job": key.job_id, "run": key.run, "cause": ending.cause.value, "job_state": reached.value}
            log.info("run_closed", extra=said)

    def _release(self, term: int, endings: Mapping[ClaimKey, Ending]) -> None:
        if endings:
            ended = claims.release_claims(self._w, term, endings)
            why = sorted({ending.message for ending in endings.values()})
            log.info("claims_released", extra={"count": ended, "why": why})


def _generating(jobs: Iterable[JobRow]) -> list[JobRow]:
    return [j for j in jobs if j.kind == JobKind.GENERATE]


def _cause(jobs: Iterable[JobRow], key: RunKey) -> Cause:
    """Return why a Run whose worker is gone ended: a worker that never spoke never started."""
    return Cause.START_FAILED if _starting(jobs, key) else Cause.NODE_LOST


def _starting(jobs: Iterable[JobRow], key: RunKey) -> bool:
    return any(j.run_key == key and j.job_state is JobState.STARTING for j in jobs)
