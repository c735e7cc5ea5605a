"""The dispatcher: one of them leads, and brings queued jobs to work.

    lead ──> take in what was submitted ──> fold reports ──> close what was lost ──> stop what is to stop
      ^                                                                                      │
      └── wait for a wake <── fill pools <── start what fits <── finish what is complete <───┘

Everything it holds in memory is rebuilt from the catalog; every write carries the leader's term.
A part that cannot reach Ray, Redis or the catalog is tried again with the next tick, and
changes no job's state.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from genplatform.catalog import JobRow
from genplatform.dispatch.avoiding import Avoiding
from genplatform.dispatch.hearing import Hearing
from genplatform.dispatch.jumps import Jumps
from genplatform.dispatch.leftovers import Leftovers
from genplatform.dispatch.limits import Limits
from genplatform.dispatch.line import HeldLine
from genplatform.dispatch.losses import Losses
from genplatform.dispatch.pools import Pools
from genplatform.dispatch.sizes_seen import SizesSeen
from genplatform.dispatch.starting import Starting
from genplatform.dispatch.stopping import Stopping, if_reached
from genplatform.dispatch.survey import Survey
from genplatform.dispatch.warmth import Warmth
from genplatform.domain.job import WITH_ACTOR, JobKind
from genplatform.domain.times import RECONCILE_SECONDS, SWEEP_SECONDS
from genplatform.engine.seam import Engine
from genplatform.errors import GenctlError, LostLeadership, Unavailable
from genplatform.services import finish, fold, leadership, reconcile
from genplatform.services.context import Wiring

log = logging.getLogger(__name__)

# Ids taken out of the intake at a time, and so often in one round.
INTAKE = 1000
INTAKES = 10
# Jobs that are complete end so many in one transaction.
FINISHED_AT_ONCE = 100
NEVER = -math.inf
# A round renews no lease that was renewed so short a time ago, by the keeper as a rule: that is a commit, and rounds
# may follow each other within milliseconds. What a round writes carries its term in any case.
FRESH_SECONDS = 2.0


class Dispatcher:
    """The loop's state and its steps; `tick` is called again and again."""

    def __init__(
        self,
        w: Wiring,
        engine: Engine,
        holder: str,
        api_url: str,
        warmth: Warmth | None = None,
        *,
        autoscales: bool = False,
    ) -> None:
        self._w = w
        self._engine = engine
        self._holder = holder
        self._line = HeldLine()
        self._survey = Survey(w, self._line)
        self._pools = Pools(w, engine, api_url)
        self._hearing = Hearing()
        self._avoiding = Avoiding(w, engine)
        self._losses = Losses(w, engine, self._pools, self._hearing, self._avoiding)
        self._stopping = Stopping(w, engine)
        self._jumps = Jumps(w.clock, w.steady)
        self._limits = Limits(w, engine, self._pools, self._hearing, self._jumps)
        self._warmth = warmth or Warmth(w.steady)
        self._starting = Starting(w, engine, self._pools, self._avoiding, self._line, self._warmth, api_url)
        self._watch = leadership.Watch(w.steady)
        self._swept = self._reconciled = NEVER
        self._leftovers = Leftovers(w)
        self._sizes = SizesSeen(w.steady, fixed=not autoscales)
        self._renewed = NEVER
        self._looked = False  # whether the actors that there are were listed in this term
        self._warm = 0  # runners that were ready when they were looked at last
        self.term: int | None = None
        self.has_work = True  # whether the last round saw anything queued or at work

    def tick(self, *, start: bool = True) -> bool:
        """Do one round; tells whether this dispatcher leads. With `start` false nothing new is started."""
        fresh = self._w.steady() - self._renewed < FRESH_SECONDS
        term = self.term if fresh and self.term is not None else self._lead()
        if term is None:
            self._lost()
            return False
        if term != self.term:
            self._take_over(term)
        try:
            self._round(term, start)
        except LostLeadership:
            self._lost()
            return False
        return True

    def renew(self) -> None:
        """Lengthen the lease while leading; called from the keeper's thread."""
        if self.term is not None:
            self._lead()

    def _lead(self) -> int | None:
        at = self._w.steady()
        term = leadership.lead(self._w, self._holder, self._watch)
        self._renewed = at if term is not None and term == self.term else NEVER
        return term

    def drain(self, seconds: float, wait: Callable[[float], object]) -> None:
        """Let running work checkpoint, requeue all of it, and step down."""
        if self.term is None:
            return
        jobs = reconcile.open_jobs(self._w)
        self._stopping.ask_to_drain(jobs)
        deadline = self._w.steady() + seconds
        while any(j.kind in WITH_ACTOR for j in reconcile.open_jobs(self._w)) and self._w.steady() < deadline:
            wait(0.2)
            if not self.tick(start=False):
                return
        open_jobs = reconcile.open_jobs(self._w)
        self._finish(self.term, open_jobs)
        self._stopping.end_all(self.term, reconcile.open_jobs(self._w), self._pools.all())
        self._stopping.clear(jobs)
        with if_reached():
            self._engine.tend(0)
        leadership.step_down(self._w, self._holder)
        log.info("dispatcher_drained", extra={"jobs": len(jobs)})

    def _take_over(self, term: int) -> None:
        log.info("leadership_taken", extra={"term": term, "holder": self._holder})
        self.term = term
        self._swept = self._reconciled = NEVER
        self._looked = False
        self._survey.take_over()
        self._leftovers.take_over()
        self._hearing.take_over()
        self._avoiding.take_over()

    def _lost(self) -> None:
        """Stand by, if this one led."""
        if self.term is not None:
            log.warning("leadership_lost", extra={"term": self.term})
            self.term = None
            self._renewed = NEVER

    def _round(self, term: int, start: bool) -> None:
        now = self._w.steady()
        self._jumps.look()
        self._try("fold", lambda: self._fold(term))
        if now - self._reconciled >= RECONCILE_SECONDS:
            self._reconciled = now
            self._try("reconcile", lambda: self._reconcile(term, start))
        self._try("survey", self._go_on)
        self._try("intake", self._intake)
        jobs = reconcile.open_jobs(self._w)
        self.has_work = bool(jobs) or len(self._line) > 0
        self._try("deaths", lambda: self._losses.deaths(term, jobs))
        if now - self._swept >= SWEEP_SECONDS:
            self._swept = now
            self._try("sweep", lambda: self._losses.sweep(term, jobs))
        self._try("stop", lambda: self._stopping.obey(term, jobs))
        self._finish(term, jobs)
        self._try("limits", lambda: self._limits.keep(term, jobs))
        if start:
            self._try("nodes", self._avoiding.look_after_losses)
            self._try("start", lambda: self._starting.start(term, jobs, tell=self._survey.is_over))
            self._try("fill", lambda: self._starting.fill(term))

    def _fold(self, term: int) -> None:
        caught_up = False
        try:
            caught_up = fold.fold(self._w, term) < fold.BATCH
        finally:
            if caught_up:
                self._hearing.folded(self._w.steady())
            else:
                self._hearing.deaf()

    def _go_on(self) -> None:
        if not self._survey.go_on():
            self._w.queues.wake()  # there is more to read: the next round begins at once

    def _intake(self) -> bool:
        """Take in what was submitted; tells whether that is anything."""
        for round_ in range(INTAKES):
            keys = self._w.queues.take_intake(INTAKE)
            self._line.add(reconcile.queued(self._w, keys))
            if len(keys) < INTAKE:
                return bool(round_ or keys)
        self._w.queues.wake()
        return True

    def _reconcile(self, term: int, start: bool) -> None:
        # Each asks Ray, Redis or the record for a good deal; who submits meanwhile waits for one of them at most.
        self._try("promote", lambda: reconcile.promote(self._w, term))
        self._try("survey", self._survey.begin)
        self._try("restore", lambda: reconcile.restore(self._w, reconcile.open_jobs(self._w)))
        self._try("sweep", lambda: reconcile.sweep(self._w))
        self._start_new(term, start)
        self._try("nodes", self._avoiding.look)
        self._start_new(term, start)
        self._try("tend", self._tend)
        self._start_new(term, start)
        self._try("actors", lambda: self._look_at_actors(term))
        self._start_new(term, start)
        self._try("leftovers", self._leftovers.sweep)

    def _start_new(self, term: int, start: bool) -> None:
        """Start what was submitted since this round began, if the line was whole and all workers known before."""

        def act() -> None:
            if start and self._looked and self._survey.is_over and self._intake():
                self._starting.start(term, reconcile.open_jobs(self._w), tell=False)
                self._starting.fill(term)

        self._try("start", act)

    def _tend(self) -> None:
        self._warm = 0
        self._warm = self._engine.tend(self._warmth.wanted(reconcile.open_jobs(self._w)))

    def _look_at_actors(self, term: int) -> None:
        try:
            actors = self._engine.actors()
            capacity = self._engine.capacity()
        except Unavailable as error:
            leadership.tell(self._w, term, {"ray": {"ok": False, "detail": error.message, "hint": error.hint}})
            raise
        detail = f"{capacity.free_cpus:g} of {capacity.cpus:g} CPUs and "
        detail += f"{capacity.free_gpus:g} of {capacity.gpus:g} GPUs free"
        detail += f", {self._warm} warm runner{'' if self._warm == 1 else 's'}" if self._warm else ""
        self._sizes.look(capacity.nodes)
        told = {"ray": {"ok": True, "detail": detail}, "avoided": self._avoiding.told(), "nodes": self._sizes.told()}
        leadership.tell(self._w, term, told)
        self._engine.adopt(actors)
        self._pools.know(actors)
        # Read after the actors were listed, under a term that just proved to hold: nothing that runs is a stray.
        jobs = reconcile.open_jobs(self._w)
        self._losses.orphans(term, jobs, actors)
        busy = reconcile.claims_of(self._w, [j for j in jobs if j.kind == JobKind.GENERATE])
        self._pools.tend(set(busy.values()))
        self._looked = True

    def _finish(self, term: int, jobs: list[JobRow]) -> None:
        complete = [job for job in jobs if job.kind == JobKind.GENERATE and job.done >= job.total]
        for first in range(0, len(complete), FINISHED_AT_ONCE):
            some = complete[first : first + FINISHED_AT_ONCE]
            self._try("finish", lambda some=some: finish.finish(self._w, term, some))  # type: ignore[misc]

    def _try(self, step: str, act: Callable[[], object]) -> None:
        """Do one step; what cannot be reached now is tried again next time."""
        try:
            act()
        except LostLeadership:
            raise
        except Unavailable as error:
            log.warning("step_unavailable", extra={"step": step, "detail": error.message})
        except GenctlError as error:
            log.error("step_failed", extra={"step": step, "detail": error.message})
        except Exception:
            # One job's surprise must not stop the line for all others.
            log.exception("step_broke", extra={"step": step})
