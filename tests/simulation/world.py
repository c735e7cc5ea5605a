"""The world of one history: the shipped platform over its seams, and everybody who speaks to it."""

from __future__ import annotations

import random
from collections import Counter

from clients import Clients
from cluster import Cluster
from crew import Node, node_for
from dispatchers import Dispatchers
from hints import Hints
from laws import Laws
from post import Message, Post
from seams import PLACES, SeamedCatalog, Shelf, seamed_queues, seamed_store
from small_platform import SECRET, HandClock
from snapshot import Ground
from trouble import Trouble

from genplatform.services.context import Wiring
from genplatform.spec import RecipeBook

KEEPER_SECONDS = 4.0
RECIPES = RecipeBook.builtin()


class World:
    """Everything of one history; what happens in it follows from the seed alone."""

    def __init__(self, seed: int, ground: Ground) -> None:
        self.chance = random.Random(seed)
        self.clock = HandClock()
        self.trace: list[str] = []
        self.happened: Counter[str] = Counter()
        self.step_number = 0
        self.trouble = Trouble(self.chance, self.say, PLACES)
        self.cluster = Cluster()
        self.queues = Hints(self.clock)
        self.shelf = Shelf()
        self.laws = Laws(self, ground)
        self.w = Wiring(
            catalog=SeamedCatalog(ground, self.trouble, self.laws.committed),
            queues=seamed_queues(self.queues, self.trouble),
            store=seamed_store(self.shelf, self.trouble),
            recipes=RECIPES,
            secret=SECRET,
            clock=self.clock,
            randbelow=random.Random(seed + 1).randrange,
            url="http://127.0.0.1:8000",
        )
        self.speaking: list[Message | None] = []  # the messages being heard, the innermost last
        self.post = Post(self)
        self.clients = Clients(self)
        self.dispatchers = Dispatchers(self)
        self.forged: set[str] = set()
        self._nodes: dict[str, Node] = {}
        self._stepping: set[str] = set()
        self._hushed: dict[str, int] = {}

    def say(self, line: str) -> None:
        """Write a line of the trace."""
        self.trace.append(line)

    def saw(self, what: str) -> None:
        """Count something that histories should come by sometimes."""
        self.happened[what] += 1
        self.trace.append(f"    -> {what}")

    def let_pass(self, seconds: float) -> None:
        """Let time pass; the leader's keeper renews its lease meanwhile, unless its process is held up."""
        leading = self.dispatchers.leading()
        if leading is not None and self.chance.random() < 0.7:
            while seconds > KEEPER_SECONDS and leading in self.dispatchers.parties:
                self.clock.go(KEEPER_SECONDS)
                seconds -= KEEPER_SECONDS
                self.dispatchers.renew(leading)
        self.clock.go(seconds)

    def nature(self, name: str) -> str:
        """Return what befalls whoever works on a job of that name."""
        return name.partition("-")[0]

    def nodes(self) -> list[Node]:
        """Return the processes that live: one behind every actor, and those that outlived theirs."""
        for name, actor in self.cluster.table.items():
            if name not in self._nodes:
                self._nodes[name] = node_for(self, name, actor.order)
        for name, node in self._nodes.items():
            if name not in self.cluster.table and name not in self.cluster.strays:
                node.over = True
        return [node for node in self._nodes.values() if not node.over]

    def able(self) -> list[Node]:
        """Return the nodes that can do something now."""
        return [node for node in self.nodes() if node.able and node.name not in self._stepping]

    def zombies(self) -> list[Node]:
        """Return the nodes that the engine does not know any more and that go on."""
        return [node for node in self.able() if node.zombie]

    def work(self, steps: int) -> None:
        """Let some nodes do their next thing."""
        for _ in range(steps):
            able = self.able()
            if able:
                self.step(self.chance.choice(able))

    def step(self, node: Node) -> None:
        """Let one node do its next thing."""
        self._stepping.add(node.name)
        try:
            node.step()
        finally:
            self._stepping.discard(node.name)

    def hush(self, name: str) -> None:
        """Let a node fall silent: stopped, or cut off from everybody."""
        self.cluster.table[name].silent = True
        self._hushed[name] = self.step_number

    def was_silent(self, name: str) -> bool:
        """Tell whether a node is silent, or was when this step began."""
        return self.cluster.table[name].silent or self._hushed.get(name) == self.step_number

    def begin_step(self) -> None:
        """Begin with the next act of the history."""
        self.step_number += 1
        for name in self.cluster.silent():
            self._hushed[name] = self.step_number
