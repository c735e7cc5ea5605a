"""The post between nodes and the API: what is said may be lost, answered in vain, and delivered again much later."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from laws import LawBroken
from snapshot import OPEN
from trouble import Crashed

from genplatform.errors import Conflict, GenctlError, Unavailable
from genplatform.services import claiming, nodes
from genplatform.services.identity import NodeSecret

if TYPE_CHECKING:
    from world import World

LOST = 0.03
ANSWER_LOST = 0.04
REMEMBERED = 40

# What names the Run or the claims that a message speaks for.
OF_RUN = frozenset({"started", "artifact", "released"})


@dataclass(frozen=True)
class Message:
    """Something a node said: the service that hears it, its token and its body."""

    sender: str
    verb: str
    token: str
    body: Mapping[str, Any]
    again: bool = field(default=False, compare=False)

    @property
    def run(self) -> tuple[str, int] | None:
        """The Run for which it speaks: the job's id and the number."""
        speaks = self.verb in OF_RUN or self.body.get("kind") == "model"
        if self.verb == "failed" and self.body.get("claim") is None:
            speaks = True
        return (self.body["job_id"], self.body["run"]) if speaks else None

    @property
    def claims(self) -> list[tuple[str, int, int, int]]:
        """The claims for which it speaks."""
        if self.verb == "publish" and self.body.get("kind") == "shards":
            return [(s["job_id"], s["run"], s["shard"], s["claim"]) for s in self.body["shards"]]
        if self.verb == "failed" and self.body.get("claim") is not None:
            return [(self.body["job_id"], self.body["run"], self.body["shard"], self.body["claim"])]
        return []


class Post:
    """Carries messages to the API's services."""

    def __init__(self, world: World) -> None:
        self._world = world
        # One API process for each message that is being heard: none waits for another's lock.
        self._doors: defaultdict[int, NodeSecret] = defaultdict(lambda: NodeSecret(world.w))
        self.sent: deque[Message] = deque(maxlen=REMEMBERED)

    def say(self, sender: str, verb: str, token: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """Send a message; returns the answer, None when it or its answer was lost. Raises what the API refused with."""
        world = self._world
        message = Message(sender, verb, token, dict(body))
        if not world.trouble.calm:
            self.sent.append(message)
            if world.chance.random() < LOST * (4 if verb == "publish" else 1):
                world.saw("a message lost on its way")
                return None
        answer = self.deliver(message)
        if answer is not None and not world.trouble.calm and world.chance.random() < ANSWER_LOST:
            world.saw("the answer to a node lost")
            return None
        return answer

    def repeat(self) -> None:
        """Deliver an old message again; nobody waits for the answer."""
        world = self._world
        stale = [message for message in self.sent if self._is_overtaken(message)]
        old = world.chance.choice(stale if stale and world.chance.random() < 0.7 else self.sent)
        message = Message(old.sender, old.verb, old.token, old.body, again=True)
        try:
            self.deliver(message)
        except GenctlError as error:
            world.saw(f"an old message refused: {error.code}")

    def _is_overtaken(self, message: Message) -> bool:
        """Tell whether a newer Run or claim stands where a message's own stood, and works."""
        record = self._world.laws.record
        if message.run is not None:
            job = record.job(message.run[0])
            return job is not None and job.run > message.run[1] and job.state in OPEN
        for job_id, run, number, claim in message.claims:
            job = record.job(job_id)
            shard = record.shards.get((job.id, number)) if job else None
            if shard is not None and shard.state == "claimed" and shard.run == run and shard.claim > claim:
                return True
        return False

    def deliver(self, message: Message) -> dict[str, Any] | None:
        """Let a service hear a message; None when its process died of it or could not reach something."""
        world = self._world
        world.say(f"  {message.sender} says {message.verb}{' again' if message.again else ''}: {_short(message.body)}")
        if self._is_overtaken(message):
            world.saw("a word against a newer run" if message.run else "a word against a newer claim of the same run")
        world.speaking.append(message)
        process = len(world.speaking)
        try:
            door = self._doors[process]
            grant = door.known(message.token) or door.grant(message.token)
            if grant is None:
                raise LawBroken("I0", f"a token that was issued opens nothing: {message.token}")
            heard = claiming.claim if message.verb == "claim" else getattr(nodes, message.verb)
            answer: dict[str, Any] = heard(world.w, grant, message.body)
        except Crashed:
            self._doors.pop(process, None)
            world.saw("the API killed while a node spoke")
            return None
        except Unavailable:
            return None
        except Conflict as error:
            world.say(f"    refused: {error.message}")
            raise
        finally:
            world.speaking.pop()
        return answer


def _short(body: Mapping[str, Any]) -> str:
    named = body.get("shards") or body.get("claims") or body.get("runs") or [body]
    return "; ".join(
        " ".join(f"{k}={one[k]}" for k in ("job_id", "run", "shard", "claim", "cause", "reason") if k in one)
        for one in named
    )
