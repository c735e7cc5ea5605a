"""How a claim of a shard ends without a result: the shard is offered again, or ends its Job.

A shard has the budgets of its job's `retry:` for itself: it is claimed again until its claims
that ended by one cause are more than that cause's budget. Then nothing helps, and the job
fails: as poisoned when it was its workers that ended each time, and else by the cause. An
error of the job's own ends the Run at once, and the Run's budget decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genplatform.catalog import JobRow, ShardRow, Transaction
from genplatform.domain.job import ReasonCode
from genplatform.domain.keys import ClaimKey, ShardKey
from genplatform.domain.retry import UNLIMITED, Cause
from genplatform.domain.states import ShardState
from genplatform.services import poison
from genplatform.services.context import Effects, Wiring
from genplatform.services.endings import Ending, decide, end_run, policy
from genplatform.services.leadership import led


def end_claim(
    w: Wiring, tx: Transaction, effects: Effects, job: JobRow, claim: ClaimKey, ending: Ending
) -> ShardState | None:
    """End a claim without a result: the shard is offered again, or ends its job when that cannot help.

    Returns the state the shard came to; None when the claim was not the current one.
    """
    shard = tx.shards.get(job.id, claim.shard)
    if shard is None or (shard.run, shard.claim) != (claim.run, claim.claim):
        return None
    told = {"shard": claim.shard, "claim": claim.claim, "worker": shard.worker} | ending.said()
    failures = shard.failures + (ending.cause not in UNLIMITED)
    end = _end_of_job(tx, job, shard, ending, told, failures)
    to = ShardState.FAILED if end and not decide(w, tx, job, end).retry else ShardState.PENDING
    if not tx.shards.settle(job.id, claim.shard, claim.run, claim.claim, to, failures=failures):
        return None
    tx.events.add(job.tenant_id, job.id, w.clock(), "claim_ended", told)
    effects.add_each("release", w.queues.release, [claim])
    if end is not None:
        end_run(w, tx, effects, job, end)
    elif job.pool is not None:
        pool = job.pool
        effects.add(lambda: w.queues.hand_off(pool, [ShardKey(*claim[:4])]))
    return to


def release_claims(w: Wiring, term: int, endings: Mapping[ClaimKey, Ending]) -> int:
    """End claims whose workers are gone, so that their shards are offered again; returns how many."""
    effects = Effects()
    ended = 0
    with led(w, term) as tx:
        tx.jobs.held([claim.job for claim in endings])
        for claim in sorted(endings):
            job = tx.jobs.by_id(claim.tenant, claim.job_id)  # as the claim before it left it
            if job is None or job.run != claim.run or end_claim(w, tx, effects, job, claim, endings[claim]) is None:
                effects.add_each("release", w.queues.release, [claim])
            else:
                ended += 1
    effects.run()
    return ended


def _end_of_job(
    tx: Transaction, job: JobRow, shard: ShardRow, ending: Ending, told: Mapping[str, Any], failures: int
) -> Ending | None:
    """Return how the Run ends because of a claim that did; None when another claim may help."""
    if ending.cause is Cause.USER_ERROR:
        return ending
    budget = policy(job).budget(ending.cause)
    # Only a shard whose claims failed often enough has its history read.
    if budget is None or failures <= budget:
        return None
    ended = [*poison.claims_ended(tx, job, shard.number, ending.cause), told]
    if len(ended) <= budget:
        return None
    name = f"Shard {shard.number} (items {shard.start} to {shard.start + shard.count - 1})"
    deaths = poison.claims_that_died(ended, budget) if ending.cause is Cause.NODE_LOST else ""
    code = ReasonCode.POISONED.value if deaths else ending.cause.value
    message = f"{name} {deaths or f'ended {len(ended)} claims without a result.'} {ending.message}"
    return Ending(ending.cause, message, ending.hint, code, final=True, died=ending.died)
