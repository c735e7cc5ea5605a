"""Laws of histories: a job's events lead from its submission, by legal steps, to where its row stands."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from genplatform.catalog.laws.law import JOB, Law
from genplatform.catalog.tables import events, jobs, logs
from genplatform.domain.history import MOVES, RETRYING, SUBMITTED
from genplatform.domain.states import JOB_TRANSITIONS, JobState

_PLAIN = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def _said(word: str) -> sa.ColumnElement[Any]:
    """Return one of the words of an event's data, as text on both databases."""
    return sa.cast(sa.type_coerce(events.c.data, _PLAIN)[word].as_string(), sa.String)


_backs_off = _said("delay_seconds").not_in(["0", "0.0"])
_state = sa.case(
    (events.c.type == SUBMITTED, _said("state")),
    (
        events.c.type == RETRYING,
        sa.case((_backs_off, JobState.WAITING.value), else_=JobState.QUEUED.value),
    ),
    else_=events.c.type,
)
_moves = (
    sa.select(
        events.c.job_pk,
        events.c.id,
        events.c.type,
        _state.label("state"),
        sa.func.lag(_state).over(partition_by=events.c.job_pk, order_by=events.c.id).label("before"),
        sa.func.lead(events.c.id).over(partition_by=events.c.job_pk, order_by=events.c.id).label("following"),
    )
    .where(events.c.type.in_(sorted(MOVES)))
    .subquery("moves")
)
_last = sa.select(_moves.c.job_pk, _moves.c.state).where(_moves.c.following.is_(None)).subquery("last")
_legal = sa.or_(
    sa.and_(_moves.c.before.is_(None), _moves.c.type == SUBMITTED),
    *(
        sa.and_(
            _moves.c.before == state.value, _moves.c.type != SUBMITTED, _moves.c.state.in_([to.value for to in out])
        )
        for state, out in JOB_TRANSITIONS.items()
        if out
    ),
)

LAWS = (
    Law(
        "history_end",
        "It is {state}, and its history ends with {said}.",
        sa.select(JOB, jobs.c.state, sa.func.coalesce(_last.c.state, "nothing").label("said"))
        .outerjoin(_last, _last.c.job_pk == jobs.c.id)
        .where(sa.func.coalesce(_last.c.state, "") != jobs.c.state),
    ),
    Law(
        "history_steps",
        "It came from {before} to {state} ({type}), which no job may.",
        sa.select(JOB, _moves.c.type, _moves.c.state, sa.func.coalesce(_moves.c.before, "nothing").label("before"))
        .join(_moves, _moves.c.job_pk == jobs.c.id)
        .where(sa.not_(sa.func.coalesce(_legal, False))),
    ),
    Law(
        "log_run",
        "It has log lines of run {of_run}, and had {run} runs.",
        sa.select(JOB, jobs.c.run, sa.func.max(logs.c.run).label("of_run"))
        .join(logs, logs.c.job_pk == jobs.c.id)
        .group_by(jobs.c.id, jobs.c.tenant_id, jobs.c.job_id, jobs.c.run)
        .having(sa.or_(sa.func.max(logs.c.run) > jobs.c.run, sa.func.min(logs.c.run) < 1)),
    ),
)
