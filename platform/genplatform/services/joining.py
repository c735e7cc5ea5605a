"""Jobs of a few items that join a pool which is at work: they use its workers, and are given none of their own.

A thousand such jobs would each wait for a worker's place while one worker could make them all in a
few forward passes. Each stays a job with a Run and a record of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from genplatform.catalog import JobRow, ModelRow, Transaction
from genplatform.domain.job import Demand, JobKind
from genplatform.domain.shards import plan_shards
from genplatform.domain.states import JobState
from genplatform.errors import BadSpec
from genplatform.services.context import Effects, Wiring
from genplatform.services.leadership import led
from genplatform.services.runs import open_joined, pinned, pool_of
from genplatform.spec import demand_of_resources, parse_stored

# A job of more shards than these has a right to workers of its own, and would hold up those that join after it.
MOST_SHARDS = 4


@dataclass(frozen=True)
class Room:
    """How many more shards a pool's workers can be given now, and the size of one of these workers."""

    shards: int
    size: Demand


def join(
    w: Wiring,
    term: int,
    front: Sequence[int],
    rooms: Mapping[str, Room],
    *,
    avoid: Sequence[str] = (),
) -> list[int]:
    """Open Runs without workers of their own for jobs at the front of the line; returns those that left the line.

    `front` and what is returned are inside keys, in the order of the line. The first job that can
    only wait ends it: who joins passes nobody.
    """
    if not front:
        return []
    effects = Effects()
    left: list[int] = []
    joining: list[tuple[JobRow, ModelRow]] = []
    room = {pool: one.shards for pool, one in rooms.items()}
    with led(w, term) as tx:
        tx.jobs.lock(front)
        jobs = tx.jobs.several(front)
        models = _Models(tx)
        for order in front:
            job = jobs.get(order)
            if job is None or job.job_state is not JobState.QUEUED:
                left.append(order)
                continue
            model = models.of(job)
            pool = pool_of(job.tenant_id, model) if model is not None else ""
            if model is None or pool not in rooms or not _fits(job, rooms[pool].size):
                break
            shards = len(plan_shards(job.total, model.tile, job.spec.get("batch_size")))
            if shards > min(MOST_SHARDS, room[pool]):
                break
            room[pool] -= shards
            left.append(order)
            joining.append((job, model))
        open_joined(w, tx, effects, term, joining, avoid=avoid)
    effects.run()
    return left


class _Models:
    """The versions that generate jobs mean now; those of one reference are looked for once."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._found: dict[tuple[str, str], ModelRow | None] = {}

    def of(self, job: JobRow) -> ModelRow | None:
        """Return a job's; None for one that has none, is of another kind, or cannot be read."""
        if job.kind != JobKind.GENERATE:
            return None
        try:
            spec = parse_stored(job.spec)
        except BadSpec:
            return None
        alike = (job.tenant_id, str(job.spec.get("model")))
        mine = job.model_version_id is not None or bool(spec.needs)
        if not mine and alike in self._found:
            return self._found[alike]
        model = pinned(self._tx, job, spec)
        if not mine:
            self._found[alike] = model
        return model


def _fits(job: JobRow, size: Demand) -> bool:
    asked = demand_of_resources(job.spec["resources"])
    return asked.min_workers <= 1 and asked.cpus <= size.cpus and asked.gpus <= size.gpus
