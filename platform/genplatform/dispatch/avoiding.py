"""Avoiding: what happens on nodes is noted, and new work is kept off those that keep failing.

The record tells of Runs, also to a dispatcher that takes over. Of the claims of pools' workers
only the dispatcher that saw them die knows the nodes, and forgets them with its lead.
"""

from __future__ import annotations

import logging
from typing import Any

from genplatform.domain.times import rfc3339
from genplatform.engine.seam import Engine
from genplatform.scheduling.avoid import MEMORY_SECONDS, Avoided, NodeEnd, NodeRecords, avoided
from genplatform.services import places
from genplatform.services.context import Wiring

log = logging.getLogger(__name__)

# Read again so far back, for an end is committed a little after its time.
OVERLAP_SECONDS = 30.0


class Avoiding:
    """Which nodes are avoided now."""

    def __init__(self, w: Wiring, engine: Engine) -> None:
        self._w = w
        self._engine = engine
        self.take_over()

    def take_over(self) -> None:
        """Know nothing, and read the record anew with the next look."""
        self._records = NodeRecords()
        self._known: dict[tuple[int, int], NodeEnd] = {}
        self._read_from: float | None = None
        self._deaths: list[NodeEnd] = []
        self._avoided: list[Avoided] = []
        self._lost = False

    @property
    def nodes(self) -> list[str]:
        """The names of the nodes that new work is kept off."""
        now = self._w.clock()
        return [one.node for one in self._avoided if one.holds(now)]

    def note_death(self, node: str, job_id: str) -> None:
        """Note that a pool's worker died on a node with a claim of a job."""
        if node:
            self._deaths.append(NodeEnd(self._w.clock(), node, job_id, lost=True))
            self._lost = True

    def note_loss(self) -> None:
        """Note that a Run was lost, as the record tells."""
        self._lost = True

    def look_after_losses(self) -> None:
        """Look if something was lost since the last look: before it is started again."""
        if self._lost:
            self.look()

    def look(self) -> None:
        """Read what ended since the last look, and decide anew; raises Unavailable."""
        now, self._lost = self._w.clock(), False
        since = now - MEMORY_SECONDS if self._read_from is None else self._read_from
        found = places.ended_since(self._w, since)
        new = [end for key, end in found.items() if key not in self._known]
        self._known = {key: end for key, end in (self._known | found).items() if end.at > now - 2 * OVERLAP_SECONDS}
        self._read_from = now - OVERLAP_SECONDS
        deaths, self._deaths = self._deaths, []
        self._records.note([*new, *deaths])
        self._records.forget(now)
        suspects = self._records.suspects(now)
        before = set(self._avoided)
        self._avoided = avoided(suspects, self._engine.nodes()) if suspects else []
        for one in set(self._avoided) - before:
            log.warning("node_avoided", extra=_said(one))

    def told(self) -> list[dict[str, Any]]:
        """Return what `genctl status` says of it."""
        return [_said(one) for one in self._avoided]


def _said(one: Avoided) -> dict[str, Any]:
    return {"node": one.node, "until": rfc3339(one.until), "failures": one.failures, "jobs": one.jobs}
