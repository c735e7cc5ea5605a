"""Stopping: cancelled and paused jobs let go of their workers; a platform that goes down drains its work."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from genplatform.catalog import JobRow
from genplatform.domain.job import WITH_ACTOR, JobKind, Wish
from genplatform.domain.keys import RunKey
from genplatform.domain.retry import Cause
from genplatform.domain.states import JobState
from genplatform.engine.seam import Engine
from genplatform.errors import Unavailable
from genplatform.services.context import Wiring, hint
from genplatform.services.endings import Ending, close_run

log = logging.getLogger(__name__)

CANCEL_GRACE_SECONDS = 10.0
# A pause is for the checkpoint's sake, and a large one takes its time to write.
PAUSE_GRACE_SECONDS = 60.0


@dataclass(frozen=True)
class _Order:
    """What a worker is told, and how its Run ends by it."""

    word: str
    grace: float
    ending: Ending
    unheard: Ending  # it did not let go within the grace


CANCEL = _Order(
    "cancel",
    CANCEL_GRACE_SECONDS,
    Ending(Cause.CANCELLED, "It was cancelled."),
    Ending(Cause.CANCELLED, "Its worker was ended after its grace."),
)
PAUSE = _Order(
    "pause",
    PAUSE_GRACE_SECONDS,
    Ending(Cause.PAUSED, "It was paused."),
    Ending(Cause.PAUSED, "Its worker was ended after its grace; what it did since its last checkpoint is done again."),
)


@contextmanager
def if_reached() -> Iterator[None]:
    """Ask something of the engine whose end does not depend on its answer: the record is closed all the same."""
    try:
        yield
    except Unavailable as error:
        log.warning("engine_not_reached", extra={"detail": error.message})


class Stopping:
    """Asks workers to stop, and ends those that do not."""

    def __init__(self, w: Wiring, engine: Engine) -> None:
        self._w = w
        self._engine = engine
        self._asked: dict[tuple[RunKey, _Order], float] = {}

    def obey(self, term: int, open_jobs: Sequence[JobRow]) -> None:
        """Bring every job that is being cancelled, or was asked to pause, to its end, within the grace."""
        now = self._w.steady()
        orders = [(job, order) for job in open_jobs if (order := _order(job)) is not None]
        current = {(job.run_key, order) for job, order in orders}
        self._asked = {told: at for told, at in self._asked.items() if told in current}
        for job, order in orders:
            key = job.run_key
            if job.kind == JobKind.GENERATE:
                # Its claims are void from here on: workers hear of it with their next heartbeat or publication.
                close_run(self._w, key, order.ending, term=term)
            elif (key, order) not in self._asked:
                self._asked[key, order] = now
                with if_reached():
                    self._engine.stop(key.actor, order.word)
            elif now - self._asked[key, order] > order.grace:
                with if_reached():
                    self._engine.kill(key.actor)
                close_run(self._w, key, order.unheard, term=term)

    def ask_to_drain(self, open_jobs: Sequence[JobRow]) -> None:
        """Ask every Run with an actor of its own to checkpoint and let go."""
        for job in open_jobs:
            if job.kind in WITH_ACTOR:
                with if_reached():
                    self._engine.stop(job.run_key.actor, "shutdown")
                with hint():
                    self._w.queues.flag_stop(job.key, "shutdown")

    def end_all(self, term: int, open_jobs: Sequence[JobRow], workers: Iterable[str]) -> None:
        """Requeue whatever is still open: nothing of it is failed, its budget of tries is not touched."""
        for job in open_jobs:
            close_run(self._w, job.run_key, Ending(Cause.SHUTDOWN, "The platform went down."), term=term)
            log.info("run_drained", extra={"job": job.job_id, "run": job.run})
        # Last, because it may take long where nothing answers: what still works is fenced by now.
        for actor in [j.run_key.actor for j in open_jobs if j.kind in WITH_ACTOR] + list(workers):
            with if_reached():
                self._engine.kill(actor)

    def clear(self, jobs: Sequence[JobRow]) -> None:
        """Take the shutdown flags back, so that the next start is not told to stop."""
        for job in jobs:
            with hint():
                self._w.queues.clear_stop(job.key)


def _order(job: JobRow) -> _Order | None:
    if job.job_state is JobState.CANCELLING:
        return CANCEL
    return PAUSE if job.wish == Wish.PAUSE else None
