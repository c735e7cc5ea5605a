"""Retry by cause: each has a count and a budget of its own; a policy returns a Decision, a loop executes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
    """What to do with a Job whose Run ended: try again after `delay` seconds, or give up.

    `tries` counts the Runs that ended by this cause; `budget` further ones are allowed, any number when it is None.
    """

    retry: bool
    delay: float
    code: str
    message: str
    tries: int = 1
    budget: int | None = 0


# Causes that say nothing about the job itself have budgets of their own and spend none of the spec's.
UNLIMITED = frozenset({Cause.PREEMPTED, Cause.PAUSED, Cause.SHUTDOWN})
START_BUDGET = 5
FIRST_DELAY = 1.0
LONGEST_DELAY = 60.0
MOST_JITTER = 0.5
LONGEST_WAIT = LONGEST_DELAY * (1 + MOST_JITTER)


@dataclass(frozen=True)
class RetryPolicy:
    """The spec's `retry:`: for each cause in `on` `max` further tries, or as many as `budgets` says of it."""

    max: int = 3
    on: frozenset[Cause] = frozenset({Cause.NODE_LOST, Cause.PREEMPTED, Cause.OUT_OF_MEMORY, Cause.STALLED})
    budgets: Mapping[Cause, int] = field(default_factory=dict)

    def budget(self, cause: Cause) -> int | None:
        """Return how many further tries Runs that end so are worth; None for any number."""
        if cause in UNLIMITED:
            return None
        if cause is Cause.START_FAILED:
            return START_BUDGET
        return self.budgets.get(cause, self.max) if cause in self.on else 0

    def decide(self, cause: Cause, earlier: Mapping[Cause, int], jitter: float = 0.0) -> Decision:
        """Decide after a Run ended by `cause`.

        `earlier` counts the job's ended Runs by cause, this one included; `jitter` in [0, 1)
        lengthens the back-off by up to a half.
        """
        tries, budget = earlier.get(cause, 1), self.budget(cause)
        if budget is None:
            return Decision(True, 0.0, cause.value, "It will go on from its last checkpoint.", tries, budget)
        if tries > budget:
            last = f"Try {tries} of {budget + 1} after {cause.value} was the last." if budget else ""
            return Decision(False, 0.0, cause.value, last, tries, budget)
        # The first loss of a worker is retried at once: its node is usually innocent.
        delay = 0.0 if tries == 1 else min(LONGEST_DELAY, FIRST_DELAY * 2 ** (tries - 2)) * (1 + jitter * MOST_JITTER)
        message = f"Try {tries + 1} of {budget + 1} after {cause.value}."
        return Decision(True, delay, "backing_off", message, tries, budget)
