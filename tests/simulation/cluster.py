"""The cluster: actors moved by hand, and which of their processes outlive what the engine knows of them."""

from __future__ import annotations

from hand_engine import HandEngine

from genplatform.engine.seam import End

CPUS = 4.0


class Cluster(HandEngine):
    """The engine. Each dispatcher looks at the one cluster through a `Cluster(of=...)` of its own."""

    def __init__(self, of: Cluster | None = None) -> None:
        super().__init__(cpus=CPUS, of=of)
        # Processes that were out of reach when they were given up: they go on, and may speak again.
        self.strays: set[str] = of.strays if of else set()
        # Actors that answered when a dispatcher ended them.
        self.put_down: set[str] = of.put_down if of else set()

    def kill(self, name: str) -> None:
        """End an actor now."""
        if name in self.table and not self.table[name].silent:
            self.put_down.add(name)
        super().kill(name)

    def die(self, name: str, message: str = "Its process was killed.", end: End = End.PROCESS) -> None:
        """End an actor; no kill reaches a process that is cut off."""
        if self.table[name].silent:
            self.strays.add(name)
        super().die(name, message, end)

    def leave(self, name: str, message: str, end: End) -> None:
        """End an actor by its own doing, if it is there."""
        if name in self.table:
            self.die(name, message, end)

    def living(self) -> list[str]:
        """Return the actors that answer."""
        return [name for name, actor in self.table.items() if not actor.silent]

    def silent(self) -> list[str]:
        """Return the actors that exist and do not answer."""
        return [name for name, actor in self.table.items() if actor.silent]
