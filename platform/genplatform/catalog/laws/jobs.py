"""Laws of jobs: their states, what an end leaves behind, and that none waits for nothing."""

from __future__ import annotations

import sqlalchemy as sa

from genplatform.catalog.laws.law import JOB, Law, differ, is_active, is_ended, is_generate, is_train, words
from genplatform.catalog.tables import jobs, submissions
from genplatform.domain.job import JobKind, Wish
from genplatform.domain.states import JobState

_STATE = (JOB, jobs.c.state)

_made = (
    sa.select(jobs.c.submission_pk.label("pk"), sa.func.count().label("found"))
    .where(jobs.c.submission_pk.is_not(None))
    .group_by(jobs.c.submission_pk)
    .subquery("made")
)

LAWS = (
    Law(
        "job_state",
        "Its state {state!r} is none that jobs have.",
        sa.select(*_STATE).where(jobs.c.state.not_in(words(JobState))),
    ),
    Law(
        "job_kind",
        "Its kind {kind!r} is none that jobs have.",
        sa.select(JOB, jobs.c.kind).where(jobs.c.kind.not_in(words(JobKind))),
    ),
    Law(
        "job_numbers",
        "It counts run {run}, {workers} workers and {done} of {total} done.",
        sa.select(JOB, jobs.c.run, jobs.c.workers, jobs.c.done, jobs.c.total).where(
            sa.or_(jobs.c.run < 0, jobs.c.workers < 0, jobs.c.done < 0, jobs.c.total < 0)
        ),
    ),
    Law(
        "job_end",
        "It is {state}, and the time of its end is {finished_at}.",
        sa.select(*_STATE, jobs.c.finished_at).where(differ(is_ended, jobs.c.finished_at.is_not(None))),
    ),
    Law(
        "job_deadline",
        "It is {state} and has a deadline still ({deadline_at}).",
        sa.select(*_STATE, jobs.c.deadline_at).where(is_ended, jobs.c.deadline_at.is_not(None)),
    ),
    Law(
        "job_wish",
        "It is {state}, and {wish!r} is wished of a run it has not.",
        sa.select(*_STATE, jobs.c.wish).where(
            jobs.c.wish.is_not(None), sa.or_(sa.not_(is_active), jobs.c.wish.not_in(words(Wish)))
        ),
    ),
    Law(
        "job_error",
        "It is {state}, and its error is {error_code}.",
        sa.select(*_STATE, jobs.c.error_code).where(
            differ(jobs.c.state == JobState.FAILED.value, jobs.c.error_code.is_not(None))
        ),
    ),
    Law(
        "job_stuck",
        "It waits for no job and for no time: nothing will ever queue it.",
        sa.select(JOB).where(jobs.c.state == JobState.WAITING.value, jobs.c.open_needs <= 0, jobs.c.run_at.is_(None)),
    ),
    Law(
        "job_complete",
        "It succeeded with {done} of {total} {unit} done.",
        sa.select(JOB, jobs.c.done, jobs.c.total, jobs.c.unit).where(
            jobs.c.state == JobState.SUCCEEDED.value, jobs.c.done != jobs.c.total
        ),
    ),
    Law(
        "job_model",
        "It generates in run {run} without a model, or is {state} without a pool.",
        sa.select(*_STATE, jobs.c.run).where(
            is_generate,
            sa.or_(
                sa.and_(jobs.c.run > 0, jobs.c.model_version_id.is_(None)),
                sa.and_(is_active, jobs.c.pool.is_(None)),
            ),
        ),
    ),
    Law(
        "train_model",
        "It is {state} and has published a model already.",
        sa.select(*_STATE).where(
            is_train, jobs.c.state != JobState.SUCCEEDED.value, jobs.c.model_version_id.is_not(None)
        ),
    ),
    Law(
        "submission_count",
        "It made {count} jobs, and {found} of them are here.",
        sa.select(
            (submissions.c.tenant_id + "/" + submissions.c.key).label("about"),
            submissions.c["count"],
            sa.func.coalesce(_made.c.found, 0).label("found"),
        )
        .outerjoin(_made, _made.c.pk == submissions.c.id)
        .where(submissions.c["count"] != sa.func.coalesce(_made.c.found, 0)),
    ),
    Law(
        "submission_tenant",
        "It belongs to a submission of {other}.",
        sa.select(JOB, submissions.c.tenant_id.label("other"))
        .join(submissions, submissions.c.id == jobs.c.submission_pk)
        .where(submissions.c.tenant_id != jobs.c.tenant_id),
    ),
)
