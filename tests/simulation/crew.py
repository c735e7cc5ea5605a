"""Who works: a train Run's actor and a pool's worker, one step at a time, as zombies too.

A node that was silenced and given up by the platform may wake: it holds its old tokens and claims,
does not know that it is over, and goes on speaking until it is told.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trouble import Crashed

from genplatform.domain import layout
from genplatform.domain.keys import ClaimKey, RunKey
from genplatform.engine.seam import End
from genplatform.errors import Conflict, Unauthorized, Unavailable

if TYPE_CHECKING:
    from world import World

IDLE_SECONDS = 15.0
# So many of those that can get stuck do.
STUCK = 0.6
# A zombie does not believe it the first time that it is over.
STUBBORN = 0.6


class Node:
    """One actor's process."""

    def __init__(self, world: World, name: str, order: Mapping[str, Any]) -> None:
        self.world = world
        self.name = name
        self.order = order
        self.token = str(order["token"])
        self.over = False

    @property
    def zombie(self) -> bool:
        """Whether the engine does not know it any more, and it goes on."""
        return not self.over and self.name not in self.world.cluster.table

    @property
    def able(self) -> bool:
        """Whether it can do something now."""
        actor = self.world.cluster.table.get(self.name)
        return not self.over and not (actor is not None and actor.silent)

    @property
    def busy(self) -> bool:
        """Whether it holds work that could be lost."""
        raise NotImplementedError

    def step(self) -> None:
        """Do the next thing; end when told that it is over."""
        try:
            self.act()
        except (Conflict, Unauthorized):
            self.refused()
        except Unavailable:
            pass  # its store was not there: it tries again
        except Crashed:
            self.world.saw("a node killed while it stored")
            self.exit("Its process was killed.", End.PROCESS)

    def act(self) -> None:
        raise NotImplementedError

    def beat(self) -> None:
        raise NotImplementedError

    def refused(self) -> None:
        """Hear that it is over."""
        if self.zombie:
            self.world.saw("a zombie refused")
            if self.world.chance.random() < STUBBORN:
                return
        self.exit("It ended: fenced.")

    def exit(self, message: str, end: End = End.OVER) -> None:
        """End the process."""
        self.over = True
        self.world.cluster.leave(self.name, message, end)

    def say(self, verb: str, **body: Any) -> dict[str, Any] | None:
        return self.world.post.say(self.name, verb, self.token, body)

    def asked(self) -> str | None:
        """Return why the engine passed on that it should stop."""
        actor = self.world.cluster.table.get(self.name)
        return actor.asked[-1] if actor is not None and actor.asked else None


class Trainer(Node):
    """Executes one Run of a train job."""

    def __init__(self, world: World, name: str, order: Mapping[str, Any]) -> None:
        super().__init__(world, name, order)
        self.key = RunKey(order["tenant"], order["job_id"], order["run"])
        self.run = {"job_id": order["job_id"], "run": order["run"]}
        self.nature = world.nature(order["name"])
        self.started = False
        self.todo = world.chance.randint(0, 2)
        self.step_number = 10 * order["run"]
        self.stop: str | None = None
        self.stuck = self.nature == "stuck" and world.chance.random() < STUCK
        self.deaf = world.chance.random() < 0.3  # whether it is so stuck that it does not hear that it should stop

    @property
    def busy(self) -> bool:
        return self.started

    def act(self) -> None:
        self.stop = self.stop or self.asked()
        if not self.started:
            self.started = self.say("started", **self.run, node="n1", worker=self.name) is not None
        elif self.stuck and not self.zombie and (self.stop is None or (self.stop == "stalled" and self.deaf)):
            self.world.saw("a run that gets no further")
        elif self.stop is not None:
            if self.say("released", **self.run, reason=self.stop, step=self.step_number) is not None:
                self.world.saw(f"a run let go of for {self.stop}")
                self.exit("It ended: released.")
        elif self.todo > 0 and not self.zombie:
            self.todo -= 1
            self._get_further()
        elif self.nature == "poison":
            self.exit("Its process was killed by what it did.", End.PROCESS)
        elif self.nature in ("faulty", "hungry") or (self.nature == "flaky" and self.world.chance.random() < 0.5):
            cause = {"faulty": "user_error", "hungry": "out_of_memory", "flaky": "out_of_memory"}[self.nature]
            if self.say("failed", **self.run, cause=cause, message="It went wrong.") is not None:
                self.exit("It ended: failed.")
        else:
            self._publish()

    def _get_further(self) -> None:
        self.step_number += 1
        if self.world.chance.random() < 0.5:
            progress = {"done": self.step_number, "total": 100, "unit": "steps", "rate": 1.0}
            line = {"seq": self.step_number, "time": self.world.clock.now, "text": "a line"}
            self.say("progress", **self.run, progress=progress, logs=[line])
            return
        key = layout.checkpoint(self.key, self.step_number)
        stored = self.world.w.store.put_bytes(f"{key}/state", key.encode())
        artifact = {"kind": "checkpoint", "key": key, "sha256": stored.sha256, "size": stored.size}
        self.say("artifact", **self.run, **artifact, step=self.step_number)

    def _publish(self) -> None:
        digest = hashlib.sha256(str(self.key).encode()).hexdigest()
        made = {
            "recipe": "gan",
            "modality": "image",
            "config": {},
            "tile": 64,
            "key": layout.model(self.key.tenant, digest),
            "digest": digest,
            "size": 3,
            "card": {"code_version": "0.1.0"},
        }
        answer = self.say("publish", kind="model", **self.run, model=made)
        if answer is not None:
            self.world.laws.acknowledged_model(self.key, answer["model"])
            self.exit("It ended: published.")

    def beat(self) -> None:
        answer = self.say("heartbeat", worker=self.name, runs=[self.run])
        for told in (answer or {}).get("stop", ()):
            if told["reason"] == "lost":
                self.refused()
            else:
                self.stop = told["reason"]


class Worker(Node):
    """A worker of a pool: claims a shard, makes it, publishes it."""

    def __init__(self, world: World, name: str, order: Mapping[str, Any]) -> None:
        super().__init__(world, name, order)
        self.held: list[dict[str, Any]] = []
        self.idle_since = world.clock.now
        self.stuck = False  # should what it holds be of a kind that can be

    @property
    def busy(self) -> bool:
        return bool(self.held)

    def act(self) -> None:
        if self.held:
            self._make(self.held[-1])
        elif self.world.clock.now - self.idle_since > IDLE_SECONDS and not self.zombie:
            self.world.saw("an idle worker gone")
            self.exit("It ended: idle.")
        else:
            answer = self.say("claim", worker=self.name, node="n1", max=1)
            self.held += (answer or {}).get("shards", [])
            self.stuck = self.world.chance.random() < STUCK

    def _make(self, order: dict[str, Any]) -> None:
        nature = self.world.nature(order["lineage"]["name"])
        said = {key: order[key] for key in ("job_id", "run", "shard", "claim")}
        if nature == "stuck" and self.stuck and not self.zombie:
            self.world.saw("a claim that gets no further")
        elif nature == "poison":
            self.exit("Its process was killed by what it did.", End.PROCESS)
        elif nature == "faulty" or (nature == "flaky" and self.world.chance.random() < 0.4):
            cause = "user_error" if nature == "faulty" else "out_of_memory"
            if self.say("failed", **said, cause=cause, message="It went wrong.") is not None:
                self._drop(order)
        else:
            claim = ClaimKey(order["tenant"], *said.values())
            lines = b"".join(b"%d of %s\n" % (i, layout.shard_name(claim).encode()) for i in (order["start"],))
            stored = self.world.w.store.put_bytes(f"{layout.shard(claim)}/{layout.MANIFEST}", lines)
            manifest = {"key": stored.key, "sha256": stored.sha256, "size": stored.size}
            shard = said | {"count": order["count"], "failed": 0, "manifest": manifest, "bytes": 3}
            answer = self.say("publish", kind="shards", shards=[shard])
            for result in (answer or {}).get("results", ()):
                self._hear(order, result["published"])

    def _hear(self, order: dict[str, Any], published: bool) -> None:
        if published:
            self.world.laws.acknowledged_shard(order)
            self._drop(order)
        elif not self.zombie:
            self._drop(order)
        else:
            self.refused()

    def refused(self) -> None:
        if self.zombie:
            super().refused()
        else:
            self.held.clear()

    def _drop(self, order: dict[str, Any]) -> None:
        self.held = [one for one in self.held if one is not order]
        self.idle_since = self.world.clock.now

    def beat(self) -> None:
        if not self.held:
            return
        claims = [{key: order[key] for key in ("job_id", "run", "shard", "claim")} for order in self.held]
        answer = self.say("heartbeat", worker=self.name, claims=claims)
        for told in (answer or {}).get("stop", ()):
            self.world.saw(f"a claim told to stop: {told['reason']}")
            self.held = [one for one in self.held if one["shard"] != told["shard"] or one["job_id"] != told["job_id"]]


def node_for(world: World, name: str, order: Mapping[str, Any]) -> Node:
    """Return the process behind an actor."""
    return Trainer(world, name, order) if name.startswith("run/") else Worker(world, name, order)
