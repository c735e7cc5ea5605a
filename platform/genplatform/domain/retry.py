"""Retry by cause: a policy returns a Decision with its reason; a loop executes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Cause(StrEnum):
    """Why a Run ended without publishing."""

    USER_ERROR = "user_error"  # the recipe, the data or the spec is wrong: trying again gives the same
    OUT_OF_MEMORY = "out_of_memory"
    NODE_LOST = "node_lost"  # the worker died or fell silent
    PREEMPTED = "preempted"  # asked to make room
    PAUSED = "paused"  # a person paused its job
    STALLED = "stalled"  # its worker lives and got no further within the job's own deadline for progress
    TIMEOUT = "timeout"  # it took longer than its job allows a run
    DEADLINE = "deadline"  # the time by which its job must have ended has passed
    SHUTDOWN = "shutdown"  # the platform was taken down cleanly
    START_FAILED = "start_failed"  # the engine could not start it
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Decision:
    """What to do with a Job whose Run ended: try again after `delay` seconds, or give up."""

    retry: bool
    delay: float
    code: str
    message: str


# Causes that say nothing about the job itself have budgets of their own and spend none of the spec's.
UNLIMITED = frozenset({Cause.PREEMPTED, Cause.PAUSED, Cause.SHUTDOWN})
START_BUDGET = 5
FIRST_DELAY = 1.0
LONGEST_DELAY = 60.0


@dataclass(frozen=True)
class RetryPolicy:
    """The spec's `retry:`: at most `max` further tries, for the causes in `on`."""

    max: int = 3
    on: frozenset[Cause] = frozenset({Cause.NODE_LOST, Cause.PREEMPTED, Cause.OUT_OF_MEMORY})

    def decide(self, cause: Cause, earlier: Mapping[Cause, int], jitter: float = 0.0) -> Decision:
        """Decide after a Run ended by `cause`.

        `earlier` counts the job's ended Runs by cause, this one included; `jitter` in [0, 1)
        lengthens the back-off by up to a half.
        """
        tries = earlier.get(cause, 1)
        if cause in UNLIMITED:
            return Decision(True, 0.0, cause.value, "It will go on from its last checkpoint.")
        budget = self._budget(cause)
        if tries > budget:
            return Decision(False, 0.0, cause.value, f"It ended {tries} times by {cause.value}; {budget} are allowed.")
        # The first loss of a worker is retried at once: its node is usually innocent.
        delay = 0.0 if tries == 1 else min(LONGEST_DELAY, FIRST_DELAY * 2 ** (tries - 2)) * (1 + jitter / 2)
        return Decision(True, delay, "backing_off", f"Try {tries + 1} after {cause.value}.")

    def _budget(self, cause: Cause) -> int:
        if cause is Cause.START_FAILED:
            return START_BUDGET
        return self.max if cause in self.on else 0
