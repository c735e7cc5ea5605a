"""PostgreSQL crashed and started again and again under a load of submits, claims and publications: exact results."""

from __future__ import annotations

import itertools
import random
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from dispatched import Dispatched
from fake_node import PoolNode, TrainNode
from hand_engine import HandEngine
from local_home import eventually
from postgres import PostgresServer
from small_platform import TENANT, generate, train

from genplatform.catalog import JobRow, migrate
from genplatform.errors import Unavailable
from genplatform.services import outputs

OUTAGES = 4
SUBMITTERS = 2
WORKERS = 3
PAUSE = 0.01
ROUND_SECONDS = 1.0  # pass on the platform's clock with each of the dispatcher's rounds
AGAIN = 0.05

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with PostgresServer(durable=True) as started:
        yield started


@pytest.fixture
def d(server: PostgresServer, tmp_path: Path) -> Iterator[Dispatched]:
    """The platform's services on that server, with time that passes as the dispatcher goes round."""
    url = server.url(server.database())
    migrate.upgrade(url)
    made = Dispatched(url, tmp_path)
    made.engine = HandEngine(cpus=16)
    made.dispatcher = made.another("d1", made.engine)
    yield made
    made.close()


class _Over(Exception):
    """The test has seen enough."""


class Load:
    """Clients that submit, workers that claim and publish, and the dispatcher between them, each a thread.

    All of them take Unavailable for what it says, and do again what they did; any other error ends the test.
    """

    def __init__(self, d: Dispatched) -> None:
        self.d = d
        self.enough = threading.Event()  # no more is submitted
        self.over = threading.Event()
        self.may_retry = threading.Event()  # clients do
        self.may_retry.set()
        self.acknowledged: dict[str, str] = {}
        self.published: Counter[tuple[str, int]] = Counter()
        self.models: Counter[str] = Counter()
        self.unavailable: Counter[str] = Counter()
        self._ended: deque[str] = deque()

    def threads(self) -> list[Callable[[], None]]:
        clients = [lambda n=n: self._until_over(self._submit, n) for n in range(SUBMITTERS)]
        workers = [lambda n=n: self._until_over(self._work, random.Random(n), n) for n in range(WORKERS)]
        return [*clients, *workers, lambda: self._until_over(self._dispatch)]

    def done(self) -> int:
        return len(self.acknowledged) + sum(self.published.values()) + sum(self.models.values())

    def _until_over(self, act: Callable[..., None], *given: Any) -> None:
        with suppress(_Over):
            for count in itertools.count():
                act(*given, count)
                self._pause(PAUSE)

    def _pause(self, seconds: float) -> None:
        if self.over.wait(seconds):
            raise _Over

    def _again(self, who: str, act: Callable[[], Any]) -> Any:
        """Do something until it is answered."""
        while True:
            try:
                return act()
            except Unavailable:
                self.unavailable[who] += 1
                self._pause(AGAIN)

    def _submit(self, number: int, count: int) -> None:
        if self.enough.is_set():
            raise _Over
        name = f"c{number}-{count}"
        text = generate(name) if count % 3 else train(name)

        def submit() -> list[str]:
            try:
                return self.d.submit(text, key=name)
            except Unavailable:
                self.may_retry.wait()
                raise

        (self.acknowledged[name],) = self._again("clients", submit)

    def _work(self, chance: random.Random, number: int, _count: int) -> None:
        mine = [name for name in list(self.d.engine.table) if sum(name.encode()) % WORKERS == number]
        name = chance.choice(mine) if mine else ""
        actor = self.d.engine.table.get(name)
        if actor is not None:
            (self._train if name.startswith("run/") else self._generate)(name, actor.order)

    def _train(self, name: str, order: dict[str, Any]) -> None:
        node = self._again("workers", lambda: TrainNode(self.d.w, order))
        self._again("workers", node.start)
        self._again("workers", node.publish)
        self.models[order["job_id"]] += 1
        self._ended.append(name)
        eventually(lambda: name not in self.d.engine.table)

    def _generate(self, name: str, order: dict[str, Any]) -> None:
        node = self._again("workers", lambda: PoolNode(self.d.w, order, name))
        try:
            claimed = node.claim()
        except Unavailable:
            # The claims may have been made, and nobody knows: the dispatcher has to find them.
            self.unavailable["workers"] += 1
            self._pause(AGAIN)
            return
        for shard in claimed:
            if self._again("workers", lambda shard=shard: node.publish(shard)):
                self.published[shard["job_id"], shard["shard"]] += 1

    def _dispatch(self, _count: int) -> None:
        while self._ended:
            ended = self._ended.popleft()
            if ended in self.d.engine.table:
                self.d.engine.die(ended, "It ended: published.")
        try:
            self.d.dispatcher.tick()
            self.d.clock.go(ROUND_SECONDS)
        except Unavailable:
            self.unavailable["dispatcher"] += 1
            self._pause(AGAIN)


def rows_of(d: Dispatched) -> list[JobRow]:
    """Return every job of the record."""
    with d.w.catalog.read() as tx:
        return tx.jobs.page(TENANT, states=(), queue=None, before=None, limit=10_000)


def test_what_was_acknowledged_and_published_through_outages_is_there_exactly_once(
    server: PostgresServer, d: Dispatched, record_property: Callable[[str, object], None]
) -> None:
    load = Load(d)
    chance = random.Random(3)
    killed_at: list[int] = []
    unanswered = 0

    with ThreadPoolExecutor(SUBMITTERS + WORKERS + 1) as pool:
        running = [pool.submit(act) for act in load.threads()]

        def so_far(holds: Callable[[], bool]) -> None:
            eventually(lambda: holds() or any(one.done() and one.exception() for one in running), 60)
            for one in running:
                assert not one.done() or one.exception() is None, one.exception()

        try:
            for _ in range(OUTAGES):
                more = load.done() + chance.randint(5, 20)
                so_far(lambda more=more: load.done() >= more)
                load.may_retry.clear()
                server.kill()
                killed_at.append(load.done())
                load.over.wait(chance.random() / 2)
                server.start_again()
                unanswered += len({row.name for row in rows_of(d)} - load.acknowledged.keys())
                load.may_retry.set()
            load.enough.set()
            so_far(lambda: all(d.state(job_id) == "succeeded" for job_id in list(load.acknowledged.values())))
        finally:
            load.enough.set()
            load.over.set()
            load.may_retry.set()
    for one in running:
        one.result()

    happened = {"unavailable": dict(load.unavailable), "committed and not answered": unanswered}
    record_property("killed_at", {"done": killed_at, "of": load.done(), **happened})
    rows = rows_of(d)
    with d.w.catalog.read() as tx:
        versions = Counter(version.name for version in tx.models.all(TENANT))
    assert {row.name: row.job_id for row in rows} == load.acknowledged
    assert len(rows) == len(load.acknowledged)
    for row in rows:
        assert [e["type"] for e in d.events(row.job_id, "succeeded", "failed")] == ["succeeded"]
        if row.kind == "train":
            assert (load.models[row.job_id], versions[row.name]) == (1, 1)
            continue
        shards = d.shards(row.job_id)
        assert {s.number: load.published[row.job_id, s.number] for s in shards} == {s.number: 1 for s in shards}
        items = outputs.ls(d.w, TENANT, row.job_id, limit=1000)["items"]
        assert [item["index"] for item in items] == list(range(row.total))
    assert all(load.unavailable[who] for who in ("clients", "workers", "dispatcher")), load.unavailable
