"""Which sizes of nodes the cluster has: what a submit that asks for more than any of them is refused by.

A node that is gone counts for some time still, for it may be on its way back. Of a cluster that grows by
itself nothing is told: what it cannot hold now it may hold later.
"""

from __future__ import annotations

from collections.abc import Iterable

from genplatform.domain.job import NodeSize
from genplatform.domain.times import Clock

AWAY_SECONDS = 600.0


class SizesSeen:
    """The nodes that were there lately."""

    def __init__(self, steady: Clock, *, fixed: bool) -> None:
        self._steady = steady
        self._fixed = fixed
        self._seen: dict[str, tuple[NodeSize, float]] = {}

    def look(self, nodes: Iterable[NodeSize]) -> None:
        """Note the nodes that are there now."""
        now = self._steady()
        self._seen |= {node.id: (node, now) for node in nodes}
        self._seen = {name: seen for name, seen in self._seen.items() if now - seen[1] <= AWAY_SECONDS}

    def told(self) -> list[list[float]]:
        """Return CPUs and GPUs of each node as they are recorded; nothing while nobody can say what there will be."""
        sizes = [[node.cpus, node.gpus] for node, _ in self._seen.values()]
        # A cluster whose head takes no work has nothing at all until its first node has come.
        return sizes if self._fixed and any(map(any, sizes)) else []
