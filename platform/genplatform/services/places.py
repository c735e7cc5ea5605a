"""On which nodes Runs ended, and how: what the record tells of whether nodes keep failing."""

from __future__ import annotations

from genplatform.catalog import RunRow
from genplatform.domain.keys import RUN_PREFIX
from genplatform.domain.retry import Cause
from genplatform.domain.states import RunState
from genplatform.scheduling.avoid import NodeEnd
from genplatform.services.context import Wiring

# What a node may be the reason of. Memory that runs out is the job's own doing more often than not.
LOST = frozenset({Cause.NODE_LOST.value, Cause.STALLED.value})
# So many ends are looked at, the newest: what a dispatcher that takes over reads at once is bounded.
MOST_ENDS = 10_000


def ended_since(w: Wiring, moment: float) -> dict[tuple[int, int], NodeEnd]:
    """Return, by job and number, the Runs that ended on a node of their own after `moment`: lost, or brought to an end.

    A Run that a pool's workers share has no node of its own.
    """
    with w.catalog.read() as tx:
        rows = tx.runs.ended_since(moment, MOST_ENDS, worker=RUN_PREFIX)
    return {(row.job_pk, row.number): _end(row) for row in rows if _tells(row)}


def _tells(row: RunRow) -> bool:
    return bool(row.node) and (row.cause in LOST or row.run_state is RunState.SUCCEEDED)


def _end(row: RunRow) -> NodeEnd:
    return NodeEnd(row.finished_at or 0.0, row.node or "", str(row.job_pk), lost=row.cause in LOST)
