"""Shards: fixed ranges of a generate Job's items, claimed and published under two fences."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from genplatform.catalog.rows import ShardRow
from genplatform.catalog.tables import batches, shards
from genplatform.domain.shards import ShardRange
from genplatform.domain.states import SHARD_TRANSITIONS, ShardState

# Made once: every round of the dispatcher and most words of a pool's workers ask these.
_add = sa.insert(shards)
_one = sa.select(shards).where(shards.c.job_pk == sa.bindparam("of"), shards.c.number == sa.bindparam("which"))
_of_job = sa.select(shards).where(shards.c.job_pk == sa.bindparam("of")).order_by(shards.c.number)
_in_state = _of_job.where(shards.c.state == sa.bindparam("standing"))
_of_jobs = (
    sa.select(shards)
    .where(shards.c.job_pk.in_(sa.bindparam("job_pks", expanding=True)), shards.c.state == sa.bindparam("standing"))
    .order_by(shards.c.job_pk, shards.c.number)
)
_of_all = (
    sa.select(shards)
    .where(shards.c.job_pk.in_(sa.bindparam("job_pks", expanding=True)))
    .order_by(shards.c.job_pk, shards.c.number)
)
_several = _of_all.where(shards.c.number.in_(sa.bindparam("numbers", expanding=True)))
_planned = sa.select(shards.c.job_pk).where(shards.c.job_pk.in_(sa.bindparam("job_pks", expanding=True))).distinct()
_claim = (
    sa.update(shards)
    .where(
        shards.c.job_pk.in_(sa.bindparam("job_pks", expanding=True)),
        shards.c.number == sa.bindparam("which"),
        shards.c.state == ShardState.PENDING.value,
    )
    .returning(*shards.c)
)
_settle = sa.update(shards).where(
    shards.c.job_pk == sa.bindparam("of"),
    shards.c.number == sa.bindparam("which"),
    shards.c.state == ShardState.CLAIMED.value,
    shards.c.run == sa.bindparam("of_run"),
    shards.c.claim == sa.bindparam("of_claim"),
)
_count = (
    sa.select(shards.c.state, sa.func.count()).where(shards.c.job_pk == sa.bindparam("of")).group_by(shards.c.state)
)
_with_lost_claims = (
    sa.select(shards.c.job_pk)
    .where(
        shards.c.job_pk.in_(sa.bindparam("job_pks", expanding=True)),
        (shards.c.claim > 1) | ((shards.c.claim == 1) & (shards.c.state != ShardState.PUBLISHED.value)),
    )
    .distinct()
)


class Shards:
    """The shards of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    def plan(self, tenant: str, job_pk: int, ranges: Sequence[ShardRange]) -> None:
        """Add a job's shards."""
        self.plan_all([(tenant, job_pk, ranges)])

    def plan_all(self, several: Sequence[tuple[str, int, Sequence[ShardRange]]]) -> None:
        """Add the shards of jobs, each given by tenant and inside key."""
        rows = [
            {
                "tenant_id": tenant,
                "job_pk": job_pk,
                "number": r.index,
                "start": r.start,
                "count": r.count,
                "state": ShardState.PENDING.value,
                "run": 0,
                "claim": 0,
                "failures": 0,
                "failed_items": 0,
            }
            for tenant, job_pk, ranges in several
            for r in ranges
        ]
        if rows:
            self._db.execute(_add, rows)

    def get(self, job_pk: int, number: int) -> ShardRow | None:
        """Return one shard."""
        row = self._db.execute(_one, {"of": job_pk, "which": number}).first()
        return None if row is None else ShardRow.of(row)

    def of_job(self, job_pk: int) -> list[ShardRow]:
        """Return a job's shards in order."""
        return [ShardRow.of(r) for r in self._db.execute(_of_job, {"of": job_pk})]

    def in_state(self, job_pk: int, state: ShardState) -> list[ShardRow]:
        """Return a job's shards in one state, in order."""
        asked = {"of": job_pk, "standing": state.value}
        return [ShardRow.of(r) for r in self._db.execute(_in_state, asked)]

    def of_jobs(self, job_pks: Sequence[int], state: ShardState) -> list[ShardRow]:
        """Return these jobs' shards in one state, in order."""
        asked = {"job_pks": list(job_pks), "standing": state.value}
        return [ShardRow.of(r) for r in self._db.execute(_of_jobs, asked)]

    def of_all(self, job_pks: Collection[int]) -> dict[int, list[ShardRow]]:
        """Return all shards of each of these jobs, in order."""
        found: dict[int, list[ShardRow]] = {pk: [] for pk in job_pks}
        for some in batches(sorted(job_pks)):
            for row in self._db.execute(_of_all, {"job_pks": list(some)}):
                found[row.job_pk].append(ShardRow.of(row))
        return found

    def several(self, numbers: Collection[tuple[int, int]]) -> dict[tuple[int, int], ShardRow]:
        """Return those of the shards that exist, by the inside key of the job and number."""
        wanted = set(numbers)
        found: dict[tuple[int, int], ShardRow] = {}
        for some in batches(sorted({pk for pk, _ in wanted})):
            asked = {"job_pks": list(some), "numbers": sorted({number for pk, number in wanted if pk in some})}
            rows = (ShardRow.of(row) for row in self._db.execute(_several, asked))
            found |= {(row.job_pk, row.number): row for row in rows if (row.job_pk, row.number) in wanted}
        return found

    def planned(self, job_pks: Collection[int]) -> set[int]:
        """Return those of the jobs that have shards."""
        found: set[int] = set()
        for some in batches(sorted(job_pks)):
            found |= {row.job_pk for row in self._db.execute(_planned, {"job_pks": list(some)})}
        return found

    def count(self, job_pk: int) -> dict[ShardState, int]:
        """Count a job's shards by state."""
        return {ShardState(r[0]): r[1] for r in self._db.execute(_count, {"of": job_pk})}

    def with_lost_claims(self, job_pks: Sequence[int]) -> set[int]:
        """Return those of the jobs of which a shard was claimed and that claim did not publish it."""
        return {row.job_pk for row in self._db.execute(_with_lost_claims, {"job_pks": list(job_pks)})}

    def containing(self, job_pk: int, item: int) -> ShardRow | None:
        """Return the shard that holds an item."""
        query = sa.select(shards).where(
            shards.c.job_pk == job_pk, shards.c.start <= item, shards.c.start + shards.c.count > item
        )
        row = self._db.execute(query).first()
        return None if row is None else ShardRow.of(row)

    def claim(self, job_pk: int, number: int, run: int, worker: str) -> int | None:
        """Claim a pending shard for a worker; returns the new claim's number, None when it is not to be had."""
        claimed = self.claim_all([(job_pk, number)], run, worker)
        return claimed[0].claim if claimed else None

    def claim_all(self, numbers: Collection[tuple[int, int]], run: int, worker: str) -> list[ShardRow]:
        """Claim pending shards of one Run's number for a worker, each by the inside key of its job and number.

        Returns those that were to be had, as they are now.
        """
        query = _claim.values(claim=shards.c.claim + 1)
        asked = {"state": ShardState.CLAIMED.value, "run": run, "worker": worker}
        of: dict[int, list[int]] = {}
        for job_pk, number in sorted(numbers):
            of.setdefault(number, []).append(job_pk)
        claimed: list[ShardRow] = []
        for number, job_pks in of.items():
            rows = self._db.execute(query, asked | {"which": number, "job_pks": job_pks})
            claimed += [ShardRow.of(row) for row in rows]
        return claimed

    def settle(self, job_pk: int, number: int, run: int, claim: int, to: ShardState, **values: Any) -> bool:
        """Move a claimed shard on, only while that Run's claim is the current one: this is the fence.

        False when nothing was changed, also for a state that the transition table does not lead to.
        """
        if to not in SHARD_TRANSITIONS[ShardState.CLAIMED]:
            return False
        asked = {"of": job_pk, "which": number, "of_run": run, "of_claim": claim, "state": to.value}
        return self._db.execute(_settle, asked | values).rowcount == 1

    def release_all(self, job_pk: int) -> int:
        """Give every claimed shard of a job back to pending (its Run ended); returns how many."""
        query = sa.update(shards).where(shards.c.job_pk == job_pk, shards.c.state == ShardState.CLAIMED.value)
        return self._db.execute(query.values(state=ShardState.PENDING.value)).rowcount
