"""What a law of the record is: a query for the rows that break it, and a sentence about one of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from genplatform.catalog.tables import jobs
from genplatform.domain.job import PUBLISHES_MODEL, JobKind
from genplatform.domain.states import ACTIVE_JOB_STATES, TERMINAL_JOB_STATES, TERMINAL_RUN_STATES, RunState


@dataclass(frozen=True)
class Law:
    """One law. `broken` selects `about` (which thing breaks it) and what `sentence` is filled in with."""

    name: str
    sentence: str
    broken: sa.Select[*tuple[Any, ...]]


def words(states: Iterable[StrEnum]) -> list[str]:
    """Return states as the columns hold them."""
    return sorted(state.value for state in states)


ACTIVE = words(ACTIVE_JOB_STATES)
ENDED = words(TERMINAL_JOB_STATES)
OPEN_RUN = words(set(RunState) - TERMINAL_RUN_STATES)

# A job as people and logs name it.
JOB = (jobs.c.tenant_id + "/" + jobs.c.job_id).label("about")

is_active = jobs.c.state.in_(ACTIVE)
is_ended = jobs.c.state.in_(ENDED)
is_train = jobs.c.kind == JobKind.TRAIN.value
publishes_model = jobs.c.kind.in_(words(PUBLISHES_MODEL))
is_generate = jobs.c.kind == JobKind.GENERATE.value


def differ(one: sa.ColumnElement[bool], other: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Return whether just one of two conditions, neither of them null, holds."""
    return sa.or_(sa.and_(one, sa.not_(other)), sa.and_(sa.not_(one), other))


def text(value: Any) -> sa.ColumnElement[str]:
    """Return a number as text, to be put together with others."""
    return sa.cast(value, sa.String)
