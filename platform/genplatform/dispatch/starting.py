"""Starting: ask scheduling, open the Runs it chose, hand them to the engine."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from genplatform.catalog import JobRow
from genplatform.dispatch.avoiding import Avoiding
from genplatform.dispatch.line import HeldLine
from genplatform.dispatch.pools import Pools
from genplatform.dispatch.sizes import size_of
from genplatform.dispatch.warmth import Warmth
from genplatform.domain.job import WITH_ACTOR, Capacity, JobKind, ReasonCode
from genplatform.domain.retry import Cause
from genplatform.domain.states import JobState
from genplatform.engine.seam import COMMAND_ACTOR, COMPRESS_ACTOR, EVALUATE_ACTOR, RUN_ACTOR, WARMABLE, Engine
from genplatform.errors import BadSpec, GenctlError, Unavailable
from genplatform.scheduling import Decision, Start, decide
from genplatform.services import joining, reconcile, runs
from genplatform.services.context import Wiring
from genplatform.services.endings import Ending, close_run

log = logging.getLogger(__name__)

# So many jobs are told in one round why they wait.
MOST_TOLD = 4_000
# So many jobs of a few items are brought to a pool in one round.
MOST_JOINING = 250
# What executes a Run, a kind.
ACTORS = {
    JobKind.TRAIN: RUN_ACTOR,
    JobKind.EVALUATE: EVALUATE_ACTOR,
    JobKind.COMPRESS: COMPRESS_ACTOR,
    JobKind.COMMAND: COMMAND_ACTOR,
}


class Starting:
    """Brings the front of the line to work."""

    def __init__(
        self,
        w: Wiring,
        engine: Engine,
        pools: Pools,
        avoiding: Avoiding,
        line: HeldLine,
        warmth: Warmth,
        api_url: str,
    ) -> None:
        self._w = w
        self._engine = engine
        self._pools = pools
        self._avoiding = avoiding
        self._line = line
        self._warmth = warmth
        self._api_url = api_url

    def start(self, term: int, open_jobs: Sequence[JobRow], *, tell: bool) -> None:
        """Start what fits now; with `tell` record why the others wait."""
        if not len(self._line):
            return
        decision = decide(self._line.line, self._free(open_jobs))
        for one in decision.starts:
            self._start_one(term, one)
        self._join(term, decision)
        if tell:
            self._tell(term, decision)

    def fill(self, term: int) -> None:
        """Start the pools' workers that open jobs lack; a Run that waits for one that cannot be had is over."""
        open_jobs = reconcile.open_jobs(self._w)
        self._pools.make_room(open_jobs)
        before = set(self._pools.all())
        refused = self._pools.fill(open_jobs, self._avoiding.nodes)
        for _ in set(self._pools.all()) - before:
            self._warmth.note_start()
        for pool, error in refused.items():
            for job in open_jobs:
                if job.pool == pool and job.job_state is JobState.STARTING:
                    ending = Ending(Cause.START_FAILED, error.message, error.hint)
                    close_run(self._w, job.run_key, ending, term=term)

    def _join(self, term: int, decision: Decision) -> None:
        """Let small jobs at the front of the line join the pools that are at work."""
        rooms = {pool: room for pool, room in self._pools.rooms().items() if room.shards > 0}
        if not rooms:
            return
        front = self._line.line.front(min(MOST_JOINING, sum(room.shards for room in rooms.values())))
        # What no cluster of this size could hold blocks nobody.
        front = [order for order in front if not self._is_impossible(decision, order)]
        avoid = self._avoiding.nodes
        for order in joining.join(self._w, term, front, rooms, avoid=avoid):
            self._line.remove(order)

    def _is_impossible(self, decision: Decision, order: int) -> bool:
        reason = decision.reasons.get(self._line.line[order].demand)
        return reason is not None and reason.code in (ReasonCode.NEEDS_GPU, ReasonCode.NEEDS_CPU)

    def _tell(self, term: int, decision: Decision) -> None:
        told = self._line.to_say(decision, MOST_TOLD)
        if told:
            self._line.said(reconcile.note_reasons(self._w, term, told))

    def _start_one(self, term: int, one: Start) -> None:
        key, workers, asked = one.key, one.workers, one.job.demand
        self._line.remove(one.job.order)
        avoid = self._avoiding.nodes
        try:
            opened = runs.open_run(self._w, term, key, workers=workers, api_url=self._api_url, avoid=avoid)
        except BadSpec as error:
            message = f"What was submitted cannot be read by this version: {error.message}"
            runs.refuse(self._w, term, key, Ending(Cause.USER_ERROR, message, "Submit it again."))
            return
        if opened is None:
            return
        log.info("run_opened", extra={"job": key.job_id, "run": opened.key.run, "workers": workers})
        actor = ACTORS.get(opened.kind)
        if actor is None:
            return  # its pool is filled in the same round
        if actor in WARMABLE:
            self._warmth.note_start()
        try:
            size, order = {"cpus": asked.cpus, "gpus": asked.gpus}, opened.order
            if workers > 1:
                # Its workers take the room, all of it at once; who drives them takes none.
                order = order | {"gang": {"workers": workers, **size, "avoid": sorted(avoid)}}
                size = {"cpus": 0.0, "gpus": 0.0}
            self._engine.start(opened.key.actor, actor, order, **size, avoid=avoid)
        except Unavailable:
            raise  # nobody knows whether it started: the reconciler finds out
        except GenctlError as error:
            close_run(self._w, opened.key, Ending(Cause.START_FAILED, error.message, error.hint), term=term)

    def _free(self, open_jobs: Sequence[JobRow]) -> Capacity:
        """Return the capacity, less what was promised and Ray does not show yet.

        Idle workers count as free: the next job of their model finds them warm, and any other has their place.
        """
        seen = self._engine.capacity(self._avoiding.nodes)
        idle = self._pools.idle(open_jobs).values()
        idle_cpus, idle_gpus = sum(size.cpus for size in idle), sum(size.gpus for size in idle)
        cpus, gpus = self._pools.reserved()
        cpus, gpus = cpus - idle_cpus, gpus - idle_gpus
        promised = [(job.workers, size_of(job)) for job in open_jobs if job.kind in WITH_ACTOR]
        promised += [(1, size) for sizes in self._pools.lacking(open_jobs).values() for size in sizes]
        cpus += sum(workers * size.cpus for workers, size in promised)
        gpus += sum(workers * size.gpus for workers, size in promised)
        free_cpus = max(0.0, min(seen.free_cpus + idle_cpus, seen.cpus - cpus))
        free_gpus = max(0.0, min(seen.free_gpus + idle_gpus, seen.gpus - gpus))
        return replace(seen, free_cpus=free_cpus, free_gpus=free_gpus)
