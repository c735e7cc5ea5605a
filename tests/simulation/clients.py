"""Clients: they submit and cancel, keep what they were told, and ask again under the same key when told nothing."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from laws import LawBroken
from small_platform import TENANT
from trouble import Crashed

from genplatform.errors import BadSpec, Conflict, Unavailable
from genplatform.services import cancel, pause, resume, retry, submit, update

if TYPE_CHECKING:
    from collections.abc import Callable

    from world import World

JSON = "application/json"
# What befalls whoever works on a job is in its name; most are good.
NATURES = ("good", "good", "good", "good", "flaky", "faulty", "hungry", "poison", "stuck")
SHARD = 64
BULK = 4
# So long a run may get no further.
PATIENCE = 15
# From here on a submit asks first whether its key is known.
LARGE = b" " * submit.LARGE


@dataclass
class Intent:
    """One job file that a client wants submitted once, under one key."""

    key: str
    body: bytes
    names: list[str]
    ids: list[str] | None = None  # what was acknowledged
    sent: int = 0
    again: str | None = None  # the ended job that is to be done again
    bad: bool = False  # one of its documents is wrong: then none is taken


class Clients:
    """All clients, and what they were told."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.intents: list[Intent] = []
        self.by_name: dict[str, dict[str, Any]] = {}
        self.cancelled: set[str] = set()
        self.retries = 0
        self.paused: set[str] = set()
        self._resumes: Counter[str] = Counter()
        self._resuming: Counter[str] = Counter()  # those under way

    @property
    def ids(self) -> list[str]:
        """The jobs that were acknowledged."""
        return [job_id for intent in self.intents for job_id in intent.ids or ()]

    def lacking(self) -> list[Intent]:
        """Return what was sent and not acknowledged."""
        return [intent for intent in self.intents if intent.ids is None]

    def submit(self) -> None:
        """Submit something new."""
        documents = self._documents()
        names = [d["name"] for d in documents]
        self.by_name |= {d["name"]: d for d in documents}
        intent = Intent(f"key-{len(self.intents)}", json.dumps(documents).encode(), names)
        if len(names) == BULK:
            intent.bad = any(d["count"] < 1 for d in documents)
            intent.body += self.world.chance.choice([b"", LARGE])
        self.intents.append(intent)
        self.send(intent)

    def send(self, intent: Intent) -> None:
        """Send an intent, for the first time or again."""
        world = self.world
        intent.sent += 1
        if intent.again is not None:
            self._send_retry(intent, intent.again)
            return
        world.say(f"  submit {intent.key} ({', '.join(intent.names)}), time {intent.sent}")
        try:
            answer = self._ask("submit", lambda: submit.submit(world.w, TENANT, intent.body, JSON, key=intent.key))
        except BadSpec:
            if not intent.bad:
                raise
            world.saw("a bulk submit refused for one of its documents")
            intent.ids = []
            return
        if answer is None:
            return
        if len(intent.names) == BULK:
            world.saw("a bulk submit acknowledged" + (" when it was repeated" if intent.sent > 1 else ""))
        ids = [job["id"] for job in answer["jobs"]]
        if intent.sent > 1:
            world.saw("a submit repeated" + (" that had no answer" if intent.ids is None else ""))
        if [job["name"] for job in answer["jobs"]] != intent.names:
            raise LawBroken("I1", f"{intent.key} was acknowledged with {answer['jobs']}, not {intent.names}")
        if intent.ids is not None and intent.ids != ids:
            raise LawBroken("I2", f"{intent.key} was {intent.ids} and is {ids} now")
        intent.ids = ids

    def retry(self, job_id: str) -> None:
        """Have an ended job done again."""
        self.retries += 1
        intent = Intent(f"retry-{self.retries}", b"", [], again=job_id)
        self.intents.append(intent)
        self.send(intent)

    def _send_retry(self, intent: Intent, job_id: str) -> None:
        world = self.world
        if intent.ids is not None:
            return  # it may have been answered with a job that goes on now, and would be with another
        world.say(f"  retry {job_id} under {intent.key}, time {intent.sent}")
        try:
            answer = self._ask("retry", lambda: retry.retry(world.w, TENANT, job_id, key=intent.key))
        except Conflict:
            world.saw("a retry refused")
            intent.ids = []
            return
        if answer is not None:
            known = set(self.ids)
            intent.ids = [job["id"] for job in answer["jobs"] if job["id"] not in known]
            world.saw("a retry acknowledged")

    def update(self, job_id: str) -> None:
        """Give a job another priority."""
        priority = self.world.chance.randint(0, 1000)
        with suppress(Conflict):
            self._ask("update", lambda: update.update(self.world.w, TENANT, job_id, priority=priority))

    def clash(self) -> None:
        """Use a key again for another body."""
        world = self.world
        intent = world.chance.choice([i for i in self.intents if i.ids and i.again is None])
        other = json.dumps([{"kind": "generate", "name": "clash", "model": "noise@1", "count": 1}]).encode()
        try:
            answer = self._ask("clash", lambda: submit.submit(world.w, TENANT, other, JSON, key=intent.key))
        except Conflict:
            world.saw("another body under a used key refused")
            return
        if answer is not None:
            raise LawBroken("I2", f"{intent.key} was used for another body and taken")

    def cancel(self, job_id: str) -> None:
        """Cancel a job."""
        world = self.world
        world.say(f"  cancel {job_id}")
        try:
            answer = self._ask("cancel", lambda: cancel.cancel(world.w, TENANT, job_id))
        except Conflict:
            world.saw("a cancel came too late")
            return
        if answer is not None:
            world.saw(f"a cancel acknowledged: {answer['state']}")
            self.cancelled.add(job_id)

    def pause(self, job_id: str) -> None:
        """Pause a job."""
        world = self.world
        world.say(f"  pause {job_id}")
        resumed = self._resumes[job_id]
        try:
            answer = self._ask("pause", lambda: pause.pause(world.w, TENANT, job_id))
        except Conflict:
            world.saw("a pause came too late")
            return
        if answer is not None:
            world.saw(f"a pause acknowledged: {answer['state']}")
            if answer["state"] == "paused" and self._resumes[job_id] == resumed and not self._resuming[job_id]:
                self.paused.add(job_id)

    def resume(self, job_id: str) -> None:
        """Resume a job."""
        world = self.world
        world.say(f"  resume {job_id}")
        self._resumes[job_id] += 1
        self._resuming[job_id] += 1
        self.paused.discard(job_id)
        try:
            answer = self._ask("resume", lambda: resume.resume(world.w, TENANT, job_id))
        except Conflict:
            world.saw("a resume came too late")
            return
        finally:
            self._resuming[job_id] -= 1
        if answer is not None:
            world.saw(f"a resume acknowledged: {answer['state']}")

    def _ask(self, what: str, service: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
        """Ask the API; None when no answer came."""
        self.world.speaking.append(None)
        try:
            return service()
        except Crashed:
            self.world.saw(f"the API killed in a {what}")
        except Unavailable:
            self.world.saw(f"a {what} unavailable")
        finally:
            self.world.speaking.pop()
        return None

    def _documents(self) -> list[dict[str, Any]]:
        chance = self.world.chance
        number = len(self.intents)
        kind = chance.random()
        if kind < 0.06:
            return self._bulk(number)
        if kind < 0.3:
            return [self._train(number)]
        if kind < 0.75:
            return [self._generate(number, "noise@1")]
        first = self._train(number)
        second = self._generate(number, first["name"]) | {"needs": [first["name"]]}
        if chance.random() < 0.5:
            return [first, second]
        third = self._generate(number + 1000, "noise@1") | {"needs": [second["name"]]}
        return [first, second, third]

    def _bulk(self, number: int) -> list[dict[str, Any]]:
        documents = [
            self._generate(number, "noise@1") | {"name": f"good-b{number}x{i}", "count": SHARD} for i in range(BULK)
        ]
        if self.world.chance.random() < 0.3:
            documents[self.world.chance.randrange(BULK)]["count"] = 0
        return documents

    def _train(self, number: int) -> dict[str, Any]:
        name = f"{self.world.chance.choice(NATURES)}-t{number}"
        recipe = {"recipe": "gan", "data": {"source": "digits"}, "budget": {"steps": 100}}
        return {"kind": "train", "name": name} | recipe | self._common(name)

    def _generate(self, number: int, model: str) -> dict[str, Any]:
        name = f"{self.world.chance.choice(NATURES)}-g{number}"
        count = SHARD * self.world.chance.randint(1, 3) - self.world.chance.randint(0, 1)
        asked = {"kind": "generate", "name": name, "model": model, "count": count, "batch_size": SHARD}
        workers = self.world.chance.choice([1, 1, 2, "1..3"])
        return asked | self._common(name) | {"resources": {"workers": workers}}

    def _common(self, name: str) -> dict[str, Any]:
        chance = self.world.chance
        causes = ["node_lost", "preempted", "out_of_memory"] + ["user_error"] * (chance.random() < 0.2)
        causes += ["stalled"] * (chance.random() < 0.6)
        asked = {"priority": chance.choice([100, 500, 900]), "retry": {"max": chance.randint(0, 3), "on": causes}}
        if self.world.nature(name) == "stuck":  # each try takes its time
            asked |= {"progress_timeout": PATIENCE, "retry": {"max": chance.randint(0, 1), "on": causes}}
        if chance.random() < 0.1:
            asked["timeout"] = chance.choice([5, 20])
        if chance.random() < 0.05:
            asked["deadline"] = chance.choice([20, 60])
        return asked
