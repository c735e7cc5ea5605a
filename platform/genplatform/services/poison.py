"""Poison: a job, or a shard of one, that ends its worker every time it is tried.

One death of a worker says little of the job: machines die too. When all the tries that its
budget for lost workers allows ended so, none of them with its whole node and without getting
further in between, the job is what kills them, and it is called `poisoned`. What is known of
each death stands in the job's events: `run_ended`, and `claim_ended` for shards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genplatform.catalog import JobRow, Transaction
from genplatform.domain.job import JobKind
from genplatform.domain.retry import Cause

PAGE = 1000
# One death is no row of them, however few tries are allowed.
FEWEST_DEATHS = 2
MOST_SAID = 5

Said = Mapping[str, Any]


def safe(tx: Transaction, job: JobRow) -> int:
    """Return how far a job's work is safe: what another Run would not do again."""
    if job.kind == JobKind.GENERATE:
        return job.done
    checkpoints = tx.artifacts.of_job(job.id, "checkpoint")
    return (checkpoints[0].step or 0) if checkpoints else 0


def runs_that_died(tx: Transaction, job: JobRow, budget: int) -> str:
    """Return the sentence that a job ended its worker with each Run that it lost; empty when it did not."""
    lost = [said for said in _events(tx, job, "run_ended") if said.get("cause") == Cause.NODE_LOST]
    if not _all_died(lost) or int(lost[-1].get("safe", 0)) > int(lost[0].get("safe", 0)):
        return ""
    numbers = [int(said["run"]) for said in lost]
    nodes = {run.node for run in tx.runs.of_jobs([job.id])[job.id] if run.number in numbers and run.node}
    where = f", on {_list('node', sorted(nodes))}" if nodes else ""
    return f"It ended its worker {len(lost)} times ({_list('run', numbers)}{where}); {_allowed(budget)}."


def claims_ended(tx: Transaction, job: JobRow, shard: int, cause: Cause) -> list[Said]:
    """Return what was said of a shard's claims that ended by a cause, oldest first."""
    ended = _events(tx, job, "claim_ended")
    return [said for said in ended if (said.get("shard"), said.get("cause")) == (shard, cause)]


def claims_that_died(lost: Sequence[Said], budget: int) -> str:
    """Return how a shard ended its worker with each claim that was lost; empty when it did not."""
    return f"ended its worker {len(lost)} times; {_allowed(budget)}." if _all_died(lost) else ""


def _all_died(lost: Sequence[Said]) -> bool:
    return len(lost) >= FEWEST_DEATHS and all(said.get("worker_died") for said in lost)


def _events(tx: Transaction, job: JobRow, type_: str) -> list[Said]:
    found: list[Said] = []
    after = 0
    while page := tx.events.page(job.id, after=after, limit=PAGE, types=(type_,)):
        found += [event.data for event in page]
        after = page[-1].id
    return found


def _allowed(budget: int) -> str:
    return f"{budget} {'try' if budget == 1 else 'tries'} more {'is' if budget == 1 else 'are'} allowed"


def _list(noun: str, things: Sequence[Any]) -> str:
    """Return `run 3`, `runs 1 to 4`, `nodes a, b`."""
    if len(things) == 1:
        return f"{noun} {things[0]}"
    if all(isinstance(t, int) for t in things) and things[-1] - things[0] == len(things) - 1:
        return f"{noun}s {things[0]} to {things[-1]}"
    said = [str(t) for t in things[:MOST_SAID]]
    more = [f"{len(things) - len(said)} more"] if len(things) > len(said) else []
    return f"{noun}s {', '.join(said + more)}"
