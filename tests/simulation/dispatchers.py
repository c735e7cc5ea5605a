"""The dispatchers: made, told to go round, killed at a seam, drained, several at a time."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster import Cluster
from laws import LawBroken
from seams import SeamedEngine
from small_platform import API_URL
from trouble import Crashed

from genplatform.dispatch.dispatcher import Dispatcher
from genplatform.errors import GenctlError, Unavailable

if TYPE_CHECKING:
    from world import World

MOST = 3


class Surprises(logging.Handler):
    """Keeps the errors that the dispatcher's loop outlived and nobody raised on purpose."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            self.found.append(record.exc_info[1])


@dataclass(eq=False)
class Party:
    """One dispatcher's process."""

    holder: str
    dispatcher: Dispatcher
    busy: bool = False
    began: float = 0.0  # its last round


class Dispatchers:
    """Those that live."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.parties: list[Party] = []
        self.surprises = Surprises()
        self._made = 0

    def start(self) -> Party:
        """Start one more."""
        world = self.world
        self._made += 1
        holder = f"d{self._made}"
        engine = SeamedEngine(Cluster(of=world.cluster), world.trouble)
        party = Party(holder, Dispatcher(world.w, engine, holder, API_URL))
        self.parties.append(party)
        world.say(f"  {holder} starts")
        return party

    def free(self) -> list[Party]:
        """Return those that are not in the middle of something."""
        return [party for party in self.parties if not party.busy]

    def began(self) -> float:
        """Return when the round began that is under way the longest."""
        return min((party.began for party in self.parties if party.busy), default=self.world.clock.now)

    def leading(self) -> Party | None:
        """Return the youngest of those that believe to lead and are free."""
        return next((p for p in reversed(self.free()) if p.dispatcher.term is not None), None)

    def tick(self, party: Party) -> bool:
        """Let one go round; tells whether it led."""
        world = self.world
        world.say(f"  {party.holder} goes round")
        party.busy, party.began = True, world.clock.now
        world.speaking.append(None)
        led = party.dispatcher.term
        try:
            leads = party.dispatcher.tick()
            if led is not None and not leads:
                world.saw("a dispatcher lost its lead")
            if sum(p.dispatcher.term is not None for p in self.parties) > 1:
                world.saw("two dispatchers that believe to lead")
            if led is None and leads and party.dispatcher.term != 1:
                world.saw("a dispatcher took over")
            return leads
        except Crashed:
            self.lose(party)
        except Unavailable:
            world.saw("a round that could not begin")
        finally:
            party.busy = False
            world.speaking.pop()
            self._look_for_surprises()
        return False

    def rivals(self) -> list[Party]:
        """Return those that could take the lead from one that believes to have it."""
        believing = [p for p in self.parties if p.dispatcher.term is not None]
        return [p for p in self.free() if believing and p.dispatcher.term is None]

    def tick_one(self) -> None:
        """Let one of those that can go round."""
        free = self.free()
        if free:
            self.tick(self.world.chance.choice(free))

    def drain(self, party: Party) -> None:
        """Take one down cleanly: what runs lets go, and is queued again."""
        world = self.world
        world.say(f"  {party.holder} drains")
        party.busy = True
        world.speaking.append(None)
        try:
            party.dispatcher.drain(2.0, self._wait)
            world.saw("a drain")
        except Crashed:
            world.saw("a dispatcher killed in its drain")
        except GenctlError:  # as its process does, whose end it is anyway
            world.saw("a drain that failed")
        finally:
            world.speaking.pop()
            self.parties.remove(party)
            self._look_for_surprises()

    def renew(self, party: Party) -> None:
        """Renew one's lease, as its keeper does from a thread of its own."""
        try:
            party.dispatcher.renew()
        except Crashed:
            self.lose(party)
        except Unavailable:
            self.world.saw("a lease not renewed")

    def lose(self, party: Party) -> None:
        """Forget a dispatcher whose process died."""
        self.world.saw("a dispatcher killed")
        self.parties.remove(party)

    def _wait(self, seconds: float) -> None:
        self.world.clock.go(0.7)
        self.world.work(2)

    def _look_for_surprises(self) -> None:
        if self.surprises.found:
            error = self.surprises.found[0]
            raise LawBroken("I0", f"The dispatcher met {type(error).__name__}: {error}") from error
