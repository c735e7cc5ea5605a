"""Laws of runs: numbered without a gap, one of them open while its job is at work, and no other."""

from __future__ import annotations

import sqlalchemy as sa

from genplatform.catalog.laws.law import JOB, OPEN_RUN, Law, differ, is_active, words
from genplatform.catalog.tables import jobs, leaders, runs
from genplatform.domain.retry import Cause
from genplatform.domain.states import JobState, RunState

_RUN = (JOB, runs.c.number, runs.c.state)
_of_jobs = jobs.join(runs, runs.c.job_pk == jobs.c.id)

_numbers = (
    sa.select(
        runs.c.job_pk,
        sa.func.count().label("found"),
        sa.func.min(runs.c.number).label("first"),
        sa.func.max(runs.c.number).label("last"),
    )
    .group_by(runs.c.job_pk)
    .subquery("numbers")
)
_found = sa.func.coalesce(_numbers.c.found, 0)
_opened = (
    sa.select(runs.c.job_pk, sa.func.count().label("open"), sa.func.max(runs.c.number).label("number"))
    .where(runs.c.state.in_(OPEN_RUN))
    .group_by(runs.c.job_pk)
    .subquery("opened")
)
_open = sa.func.coalesce(_opened.c.open, 0)
_term = sa.select(sa.func.coalesce(sa.func.max(leaders.c.term), 0)).scalar_subquery()


def _is(job: JobState, run: RunState) -> sa.ColumnElement[bool]:
    """Return whether a job is in a state and its current run in another than the one that goes with it."""
    return sa.and_(jobs.c.state == job.value, runs.c.number == jobs.c.run, runs.c.state != run.value)


LAWS = (
    Law(
        "run_state",
        "Its run {number} is {state!r} by {cause!r}, which no run is.",
        sa.select(*_RUN, runs.c.cause)
        .select_from(_of_jobs)
        .where(
            sa.or_(
                runs.c.state.not_in(words(RunState)),
                sa.and_(runs.c.cause.is_not(None), runs.c.cause.not_in(words(Cause))),
            )
        ),
    ),
    Law(
        "run_numbers",
        "It counts {run} runs, and has {found} numbered {first} to {last}.",
        sa.select(JOB, jobs.c.run, _found.label("found"), _numbers.c.first, _numbers.c.last)
        .outerjoin(_numbers, _numbers.c.job_pk == jobs.c.id)
        .where(sa.or_(_found != jobs.c.run, _numbers.c.first != 1, _numbers.c.last != jobs.c.run)),
    ),
    Law(
        "run_open",
        "It is {state} in run {run} and has {open} open runs, the last of them {number}.",
        sa.select(JOB, jobs.c.state, jobs.c.run, _open.label("open"), _opened.c.number)
        .outerjoin(_opened, _opened.c.job_pk == jobs.c.id)
        .where(
            sa.or_(
                sa.and_(is_active, _open != 1),
                sa.and_(sa.not_(is_active), _open != 0),
                _opened.c.number != jobs.c.run,
            )
        ),
    ),
    Law(
        "run_end",
        "Its run {number} is {state}; it ended at {finished_at} by {cause}.",
        sa.select(*_RUN, runs.c.finished_at, runs.c.cause)
        .select_from(_of_jobs)
        .where(
            sa.or_(
                differ(runs.c.state.not_in(OPEN_RUN), runs.c.finished_at.is_not(None)),
                differ(
                    runs.c.state.not_in([*OPEN_RUN, RunState.SUCCEEDED.value]),
                    runs.c.cause.is_not(None),
                ),
            )
        ),
    ),
    Law(
        "run_of_job",
        "It is {job_state}, and its run {number} of {run} is {state}.",
        sa.select(*_RUN, jobs.c.state.label("job_state"), jobs.c.run)
        .select_from(_of_jobs)
        .where(
            sa.or_(
                _is(JobState.STARTING, RunState.STARTING),
                _is(JobState.RUNNING, RunState.RUNNING),
                _is(JobState.SUCCEEDED, RunState.SUCCEEDED),
                sa.and_(
                    runs.c.state == RunState.SUCCEEDED.value,
                    sa.or_(runs.c.number != jobs.c.run, jobs.c.state != JobState.SUCCEEDED.value),
                ),
            )
        ),
    ),
    Law(
        "run_term",
        "Its run {number} was opened in term {term}, and {led} is the last that anybody led in.",
        sa.select(JOB, runs.c.number, runs.c.term, _term.label("led"))
        .select_from(_of_jobs)
        .where(sa.or_(runs.c.term > _term, runs.c.term < 0)),
    ),
)
