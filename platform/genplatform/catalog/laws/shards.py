"""Laws of shards: ranges without a gap, claims of the current run alone, and a job's count that is their sum."""

from __future__ import annotations

import sqlalchemy as sa

from genplatform.catalog.laws.law import JOB, Law, differ, is_active, is_generate, text, words
from genplatform.catalog.tables import jobs, shards
from genplatform.domain.states import JobState, ShardState

_SHARD = (JOB, shards.c.number, shards.c.state, shards.c.run, shards.c.claim)
_of_jobs = jobs.join(shards, shards.c.job_pk == jobs.c.id)
_is_published = shards.c.state == ShardState.PUBLISHED.value

_sums = (
    sa.select(
        shards.c.job_pk,
        sa.func.count().label("found"),
        sa.func.sum(shards.c["count"]).label("items"),
        sa.func.sum(sa.case((_is_published, shards.c["count"]), else_=0)).label("done"),
        sa.func.sum(sa.case((_is_published, 0), else_=1)).label("unpublished"),
    )
    .group_by(shards.c.job_pk)
    .subquery("sums")
)
_done = sa.func.coalesce(_sums.c.done, 0)
_chained = sa.select(
    shards.c.job_pk,
    shards.c.number,
    shards.c.start,
    shards.c["count"],
    sa.func.coalesce(
        sa.func.lag(shards.c.start + shards.c["count"]).over(partition_by=shards.c.job_pk, order_by=shards.c.number), 0
    ).label("expected"),
    (sa.func.row_number().over(partition_by=shards.c.job_pk, order_by=shards.c.number) - 1).label("place"),
).subquery("chained")

# As `domain.layout.shard_name` writes it: the number has six digits at least.
_zeros = sa.case(*((shards.c.number < 10**n, "0" * (6 - n)) for n in range(1, 6)), else_="")
_name = "shard-" + _zeros + text(shards.c.number) + ".r" + text(shards.c.run) + ".c" + text(shards.c.claim)
_told = (shards.c.folder, shards.c.manifest_sha256, shards.c.size, shards.c.published_at)

LAWS = (
    Law(
        "shard_state",
        "Its shard {number} is {state!r}, or a {kind} job has none.",
        sa.select(*_SHARD, jobs.c.kind)
        .select_from(_of_jobs)
        .where(sa.or_(shards.c.state.not_in(words(ShardState)), sa.not_(is_generate))),
    ),
    Law(
        "shard_ranges",
        "Its shard {number} is number {place} and begins at item {start}, where {expected} is next.",
        sa.select(JOB, _chained.c.number, _chained.c.place, _chained.c.start, _chained.c.expected)
        .join(_chained, _chained.c.job_pk == jobs.c.id)
        .where(
            sa.or_(
                _chained.c.number != _chained.c.place,
                _chained.c.start != _chained.c.expected,
                _chained.c["count"] <= 0,
            )
        ),
    ),
    Law(
        "shard_total",
        "It has {total} items, and in run {run} {found} shards with {items} of them.",
        sa.select(
            JOB,
            jobs.c.total,
            jobs.c.run,
            sa.func.coalesce(_sums.c.found, 0).label("found"),
            sa.func.coalesce(_sums.c["items"], 0).label("items"),
        )
        .outerjoin(_sums, _sums.c.job_pk == jobs.c.id)
        .where(
            is_generate,
            sa.or_(
                sa.and_(jobs.c.run > 0, _sums.c.found.is_(None)),
                _sums.c["items"] != jobs.c.total,
            ),
        ),
    ),
    Law(
        "shard_claim",
        "Its shard {number} is {state} in claim {claim} of run {run}; the job is {job_state} in run {job_run}.",
        sa.select(*_SHARD, jobs.c.state.label("job_state"), jobs.c.run.label("job_run"))
        .select_from(_of_jobs)
        .where(
            sa.or_(
                shards.c.claim < 0,
                shards.c.run < 0,
                shards.c.run > jobs.c.run,
                differ(shards.c.claim > 0, shards.c.run > 0),
                sa.and_(
                    shards.c.state == ShardState.CLAIMED.value,
                    sa.or_(
                        shards.c.claim == 0,
                        shards.c.run != jobs.c.run,
                        shards.c.worker.is_(None),
                        sa.not_(is_active),
                    ),
                ),
            )
        ),
    ),
    Law(
        "shard_failures",
        "Its shard {number} is {state} after {failures} failures of {claim} claims; the job is {job_state}.",
        sa.select(*_SHARD, shards.c.failures, jobs.c.state.label("job_state"))
        .select_from(_of_jobs)
        .where(
            sa.or_(
                shards.c.failures < 0,
                shards.c.failures > shards.c.claim,
                sa.and_(
                    shards.c.state == ShardState.FAILED.value,
                    jobs.c.state.not_in(words({JobState.FAILED, JobState.CANCELLED})),
                ),
            )
        ),
    ),
    Law(
        "shard_published",
        "Its shard {number} is {state} in claim {claim} of run {run}; its folder is {folder}.",
        sa.select(*_SHARD, shards.c.folder)
        .select_from(_of_jobs)
        .where(
            sa.or_(
                *(differ(_is_published, column.is_not(None)) for column in _told),
                sa.and_(_is_published, sa.or_(shards.c.claim == 0, shards.c.folder != _name)),
                sa.and_(_is_published, sa.not_(shards.c.failed_items.between(0, shards.c["count"]))),
            )
        ),
    ),
    Law(
        "shard_done",
        "It counts {done} items done, and {published} are published.",
        sa.select(JOB, jobs.c.done, _done.label("published"))
        .outerjoin(_sums, _sums.c.job_pk == jobs.c.id)
        .where(is_generate, jobs.c.done != _done),
    ),
    Law(
        "shard_complete",
        "It succeeded without {unpublished} of its shards.",
        sa.select(JOB, _sums.c.unpublished)
        .join(_sums, _sums.c.job_pk == jobs.c.id)
        .where(jobs.c.state == JobState.SUCCEEDED.value, _sums.c.unpublished > 0),
    ),
)
