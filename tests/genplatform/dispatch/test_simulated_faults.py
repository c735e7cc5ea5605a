"""Whole lives of jobs under faults by chance: whatever happens, what was promised holds, and in the end all is over.

Each seed plays one history: jobs are submitted and cancelled, workers work, die, fall silent and
come back as zombies, Redis is cut off or wiped, the engine is cut off, dispatchers take over. Then
the faults stop, and every job must come to its end with its outputs published exactly once.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from dispatched import Dispatched
from fake_node import PoolNode, TrainNode
from small_platform import TENANT, generate, train

from genplatform.domain.states import RUN_TRANSITIONS, RunState
from genplatform.errors import Conflict, Fenced, Unauthorized, Unavailable
from genplatform.services import cancel, jobs, outputs

SEEDS = range(6)
STEPS = 160
FAULTS = ("killed", "silenced", "wiped", "zombie refused", "zombie against a newer claim", "unavailable")
ENDS = ("succeeded", "failed", "cancelled")
RETRY = "retry: {max: 50}\n"


class History:
    """One history: who works on what, who is a zombie, and what was acknowledged."""

    def __init__(self, d: Dispatched, seed: int) -> None:
        self.d = d
        self.chance = random.Random(seed)
        self.jobs: list[str] = []
        self.cancelled: set[str] = set()
        self.done_at_cancel: dict[str, int] = {}
        self.trainers: dict[str, TrainNode] = {}  # by actor, also after its end: then a zombie's
        self.workers: dict[str, PoolNode] = {}
        self.held: dict[str, list[dict[str, Any]]] = {}
        self.published: Counter[tuple[str, int]] = Counter()
        self.models: Counter[str] = Counter()
        self.happened: Counter[str] = Counter()
        self.dispatchers = 1

    def step(self) -> None:
        acts: list[tuple[int, Callable[[], object]]] = [
            (8, self.tick),
            (2 if len(self.jobs) < 8 else 0, self.submit),
            (14, self.work),
            (3, self.beat),
            (2, self.kill),
            (1, self.silence),
            (1 if len(self.cancelled) < 2 else 0, self.cancel),
            (1, self.wipe),
            (1 if self.d.queues.reachable else 6, self.cut_redis),
            (1 if self.d.engine.reachable else 6, self.cut_engine),
            (1, self.take_over),
        ]
        (act,) = self.chance.choices([a for _, a in acts], weights=[n for n, _ in acts])
        try:
            act()
        except Unavailable:
            self.happened["unavailable"] += 1

    def tick(self) -> None:
        self.d.clock.go(self.chance.choice([0.5, 0.5, 2.0, 6.0]))
        self.d.tick()

    def submit(self) -> None:
        name = f"j{len(self.jobs)}"
        text = train(name, RETRY)
        if self.chance.random() < 0.6:
            workers = self.chance.randint(1, 3)
            text = generate(
                name, count=64 * self.chance.randint(1, 4), more=f"{RETRY}resources: {{workers: {workers}}}\n"
            )
        job_id = self.d.submit(text, key=name)[0]
        assert self.d.submit(text, key=name) == [job_id]
        self.jobs.append(job_id)

    def meet(self) -> None:
        for name, actor in self.d.engine.table.items():
            if name.startswith("run/"):
                self.trainers.setdefault(name, TrainNode(self.d.w, actor.order))
            else:
                self.workers.setdefault(name, PoolNode(self.d.w, actor.order, name))

    def work(self) -> None:
        """Let somebody say or do the next thing: one that is alive, or one that is thought to be dead."""
        self.meet()
        everybody = [*self.trainers, *self.workers]
        if not everybody:
            return
        zombies = [name for name in self.workers if name not in self.d.engine.table and self.held.get(name)]
        name = self.chance.choice(zombies if zombies and self.chance.random() < 0.3 else everybody)
        zombie = name not in self.d.engine.table
        try:
            if name in self.trainers:
                self._train(name)
            else:
                self._generate(name)
        except (Fenced, Unauthorized):
            self.happened["zombie refused" if zombie else "refused"] += 1

    def _train(self, name: str) -> None:
        node = self.trainers[name]
        node.start()
        if self.chance.random() < 0.5:
            node.publish()
            self.models[node.key.job_id] += 1
            assert node.key.job_id not in self.cancelled
            if name in self.d.engine.table:
                self.d.engine.die(name, "It ended: published.")
            del self.trainers[name]

    def _generate(self, name: str) -> None:
        node = self.workers[name]
        held = self.held.setdefault(name, [])
        if not held:
            held += node.claim()
            return
        order = held.pop()
        shard = self.d.shards(order["job_id"])[order["shard"]]
        if shard.state == "claimed" and shard.claim != order["claim"]:
            self.happened["zombie against a newer claim"] += 1
        if node.publish(order):
            self.published[order["job_id"], order["shard"]] += 1
            assert order["job_id"] not in self.cancelled
            assert self.d.shards(order["job_id"])[order["shard"]].claim == order["claim"]
        elif name not in self.d.engine.table:
            self.happened["zombie refused"] += 1
            held.append(order)  # it does not believe it, and tries again later

    def beat(self) -> None:
        self.meet()
        for name, actor in list(self.d.engine.table.items()):
            if not actor.silent and name in self.trainers:
                self.trainers[name].heartbeat()
            elif not actor.silent and self.held.get(name):
                self.workers[name].heartbeat(self.held[name])

    def kill(self) -> None:
        if self.d.engine.table:
            self.d.engine.die(self.chance.choice(sorted(self.d.engine.table)))
            self.happened["killed"] += 1

    def silence(self) -> None:
        if self.d.engine.table:
            self.d.engine.table[self.chance.choice(sorted(self.d.engine.table))].silent = True
            self.happened["silenced"] += 1

    def cancel(self) -> None:
        if self.jobs:
            job_id = self.chance.choice(self.jobs)
            try:
                cancel.cancel(self.d.w, TENANT, job_id)
            except Conflict:
                return
            self.cancelled.add(job_id)
            self.done_at_cancel.setdefault(job_id, self.d.row(job_id).done)

    def wipe(self) -> None:
        self.d.queues.wipe()
        self.happened["wiped"] += 1

    def cut_redis(self) -> None:
        self.d.queues.reachable = not self.d.queues.reachable

    def cut_engine(self) -> None:
        self.d.engine.reachable = not self.d.engine.reachable

    def take_over(self) -> None:
        self.dispatchers += 1
        self.d.dispatcher = self.d.another(f"d{self.dispatchers}", self.d.engine)
        self.d.clock.go(6)

    def heal(self) -> None:
        """Let the faults stop and everybody work until all is over."""
        self.d.queues.reachable = self.d.engine.reachable = True
        for _ in range(400):
            if all(self.d.row(job_id).state in ENDS for job_id in self.jobs):
                return
            self.d.clock.go(1.0)
            self.d.tick()
            self.meet()
            for name, actor in list(self.d.engine.table.items()):
                try:
                    if actor.silent:
                        continue
                    if name in self.trainers:
                        self.trainers[name].start()
                        self.trainers[name].publish()
                        self.models[self.trainers[name].key.job_id] += 1
                        self.d.engine.die(name, "It ended: published.")
                    else:
                        self._generate(name)
                except Fenced:
                    self.d.engine.die(name, "It ended: fenced.")
        left = {job_id: (self.d.state(job_id), self.d.reason(job_id)) for job_id in self.jobs}
        raise AssertionError(f"not over: {[(j, s) for j, s in left.items() if s[0] not in ENDS]}")


@pytest.mark.parametrize("seed", SEEDS)
def test_what_was_promised_holds_through_faults(d: Dispatched, seed: int) -> None:
    history = History(d, seed)
    for _ in range(STEPS):
        history.step()
        history.meet()

    history.heal()

    for job_id in history.jobs:
        job = d.job(job_id)
        row = d.row(job_id)
        assert (job["state"] == "cancelled") == (job_id in history.cancelled), job
        assert job["state"] in ("succeeded", "cancelled"), job
        assert [r["number"] for r in job["runs"]] == list(range(1, row.run + 1))
        assert all(not RUN_TRANSITIONS[RunState(r["state"])] for r in job["runs"])
        if row.kind == "train":
            assert history.models[job_id] == (1 if job["state"] == "succeeded" else 0)
            continue
        shards = d.shards(job_id)
        assert row.done == sum(s.count for s in shards if s.state == "published")
        assert {n for j, n in history.published if j == job_id} == {s.number for s in shards if s.state == "published"}
        if job["state"] == "succeeded":
            page = outputs.ls(d.w, TENANT, job_id, limit=1000)
            assert [i["index"] for i in page["items"]] == list(range(row.total))
        else:
            assert row.done == history.done_at_cancel[job_id]
    assert max(history.published.values(), default=1) == 1
    assert len(jobs.ps(d.w, TENANT, all=True, limit=1000)["jobs"]) == len(history.jobs)
    HAPPENED.update(history.happened)


HAPPENED: Counter[str] = Counter()


def test_the_faults_did_happen() -> None:
    """A simulation that does not reach what it is about proves nothing."""
    if not HAPPENED:
        pytest.skip("the histories were not played in this session")
    assert all(HAPPENED[what] for what in FAULTS), HAPPENED
