"""Laws of needs: a job that waits waits for what can still succeed, and one that went on has all it needed."""

from __future__ import annotations

import sqlalchemy as sa

from genplatform.catalog.laws.law import JOB, Law, words
from genplatform.catalog.tables import jobs, needs
from genplatform.domain.states import JobState

_HELD = words({JobState.WAITING, JobState.PAUSED})
_WENT_ON = words({JobState.QUEUED, JobState.STARTING, JobState.RUNNING, JobState.SUCCEEDED})
_HOPELESS = words({JobState.FAILED, JobState.CANCELLED})

_needed = jobs.alias("needed")
_is_met = _needed.c.state == JobState.SUCCEEDED.value
_counts = (
    sa.select(
        needs.c.job_pk,
        sa.func.sum(sa.case((_is_met, 0), else_=1)).label("unmet"),
        sa.func.sum(sa.case((_needed.c.state.in_(_HOPELESS), 1), else_=0)).label("hopeless"),
    )
    .join(_needed, _needed.c.id == needs.c.needs_pk)
    .group_by(needs.c.job_pk)
    .subquery("counts")
)
_unmet = sa.func.coalesce(_counts.c.unmet, 0)

LAWS = (
    Law(
        "needs_open",
        "It is {state} and counts {open_needs} open needs, where {unmet} are open.",
        sa.select(JOB, jobs.c.state, jobs.c.open_needs, _unmet.label("unmet"))
        .outerjoin(_counts, _counts.c.job_pk == jobs.c.id)
        .where(
            sa.or_(
                sa.and_(jobs.c.state.in_(_HELD), jobs.c.open_needs != _unmet),
                sa.and_(jobs.c.state.in_(_WENT_ON), sa.or_(jobs.c.open_needs != 0, _unmet != 0)),
            )
        ),
    ),
    Law(
        "needs_hopeless",
        "It is {state} and needs {hopeless} jobs that failed or were cancelled.",
        sa.select(JOB, jobs.c.state, _counts.c.hopeless)
        .join(_counts, _counts.c.job_pk == jobs.c.id)
        .where(jobs.c.state.in_(_HELD), _counts.c.hopeless > 0),
    ),
)
