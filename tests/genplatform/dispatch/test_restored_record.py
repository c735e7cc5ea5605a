"""After a restore: what was open goes on in Runs of this record, and what the earlier one started publishes nothing.

The cluster, the store and Redis are those of before: whatever the earlier record's workers do
there, they do beside this one.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dispatched import Dispatched
from fake_node import DIGEST
from fastapi.testclient import TestClient
from hand_engine import HandEngine
from small_platform import TENANT, generate, train

from genplatform.api.app import create_app
from genplatform.catalog.backup import backup
from genplatform.catalog.restore import TERMS, restore
from genplatform.domain import layout
from genplatform.domain.times import LEADER_LEASE_SECONDS
from genplatform.errors import LostLeadership
from genplatform.services import leadership
from genplatform.services.identity import FRESH_SECONDS
from genplatform.services.verify import verify

Taken = Callable[[], Dispatched]


class Node:
    """A worker as the platform meets it: at the door, with the token that its order held."""

    def __init__(self, d: Dispatched, order: dict[str, Any]) -> None:
        self._api = TestClient(create_app(d.w), base_url="http://127.0.0.1", raise_server_exceptions=False)
        self._headers = {"Authorization": f"Bearer {order['token']}"}

    def say(self, what: str, body: dict[str, Any]) -> int:
        answer = self._api.post(f"/internal/v1/{what}", content=json.dumps(body), headers=self._headers)
        return int(answer.status_code)


@pytest.fixture
def back(d: Dispatched, tmp_path: Path) -> Iterator[Taken]:
    """Take a backup when called first, and when called again return the platform that is restored from it."""
    path, url = tmp_path / "backup.gz", f"sqlite:///{tmp_path / 'restored.db'}"
    made: list[Dispatched] = []

    def call() -> Dispatched:
        if not path.exists():
            backup(d.w.catalog.engine, path, d.clock.now)
            return d
        restore(url, path, incarnation="the-restored-one", now=d.clock.now)
        again = Dispatched(url, tmp_path)
        again.clock, again.queues = d.clock, d.queues
        chance = random.Random(11).randrange
        again.w = replace(again.w, clock=d.clock, queues=d.queues, store=d.w.store, randbelow=chance)
        again.engine = HandEngine(of=d.engine)
        again.dispatcher = again.another("restored", again.engine)
        made.append(again)
        return again

    yield call
    for one in made:
        one.close()


def order_of(d: Dispatched, actor: str) -> dict[str, Any]:
    return d.engine.table[actor].order


def started(d: Dispatched, job_id: str) -> dict[str, Any]:
    """Let a train job's current Run begin; return its order."""
    d.run_node(job_id).start()
    return order_of(d, d.row(job_id).run_key.actor)


def model_of(job_id: str, run: int) -> dict[str, Any]:
    key = layout.model(TENANT, DIGEST)
    model = {"recipe": "gan", "modality": "image", "config": {}, "tile": 64, "key": key, "digest": DIGEST, "size": 3}
    return {"kind": "model", "job_id": job_id, "run": run, "model": model | {"card": {"code_version": "0.1.0"}}}


def test_a_run_that_the_earlier_record_opened_after_the_backup_publishes_nothing_in_this_one(
    d: Dispatched, back: Taken
) -> None:
    t = d.one(train())
    d.tick()
    started(d, t)
    back()
    d.engine.die(f"run/{TENANT}/{t}/1")
    d.tick(2)
    zombie = started(d, t)
    assert zombie["run"] == 2

    r = back()
    r.go(20)
    ours = order_of(r, f"run/{TENANT}/{t}/2")
    old, new = Node(r, zombie), Node(r, ours)

    run = {"job_id": t, "run": 2}
    assert (r.row(t).run, r.state(t)) == (2, "starting")
    assert ours["token"] != zombie["token"]
    assert old.say("started", run | {"node": "n", "worker": "w"}) == 401
    assert old.say("heartbeat", {"runs": [run]}) == 401
    assert old.say("publish", model_of(t, 2)) == 401
    assert r.state(t) == "starting"
    assert new.say("started", run | {"node": "n", "worker": "w"}) == 200
    assert new.say("publish", model_of(t, 2)) == 200
    assert r.state(t) == "succeeded"
    assert verify(r.w.catalog) == []


def test_a_stray_of_the_earlier_record_is_ended_before_a_run_of_its_number_is_opened(
    d: Dispatched, back: Taken
) -> None:
    t = d.one(train())
    d.tick()
    started(d, t)
    back()
    d.engine.die(f"run/{TENANT}/{t}/1")
    d.tick(2)
    stray = f"run/{TENANT}/{t}/2"
    assert d.engine.names() == [stray]

    r = back()
    r.go(20)

    assert r.engine.killed == [stray]
    assert r.engine.started == [stray]
    assert verify(r.w.catalog) == []


def test_a_worker_that_lived_through_it_is_refused_and_its_job_goes_on_in_the_next_run(
    d: Dispatched, back: Taken
) -> None:
    t = d.one(train())
    d.tick()
    alive = started(d, t)
    d.run_node(t).checkpoint(10)
    back()

    r = back()
    r.go(20)
    assert (r.state(t), r.row(t).run) == ("running", 1)  # its actor answers: it is not taken for dead
    assert Node(r, alive).say("heartbeat", {"runs": [{"job_id": t, "run": 1}]}) == 401
    r.engine.die(f"run/{TENANT}/{t}/1", "It ended: lost.")  # as an actor does that hears it
    r.go(5)

    assert (r.state(t), r.row(t).run) == ("starting", 2)
    assert [c["step"] for c in order_of(r, f"run/{TENANT}/{t}/2")["resume"]] == [10]
    assert verify(r.w.catalog) == []


def test_shards_of_the_earlier_record_are_claimed_again_and_its_workers_are_refused(d: Dispatched, back: Taken) -> None:
    g = d.one(generate())
    d.tick()
    (worker,) = d.workers(g)
    zombie = order_of(d, worker.name)
    worker.publish(worker.claim()[0])
    (claimed,) = worker.claim()
    back()
    late = worker.store(claimed)

    r = back()
    old = Node(r, zombie)
    assert old.say("publish", {"kind": "shards", "shards": [late]}) == 401
    assert old.say("claim", {"worker": worker.name, "max": 4}) == 401
    r.engine.die(worker.name, "It ended: unreachable.")
    r.go(20)
    (again,) = r.workers(g)
    assert again.work() == 2
    r.go(2)

    assert r.state(g) == "succeeded"
    assert verify(r.w.catalog, r.w.store) == []
    assert [(s.run, s.claim) for s in r.shards(g)] == [(1, 1), (1, 2), (1, 1)]


def test_a_dispatcher_of_the_earlier_record_writes_nothing_here(d: Dispatched, back: Taken) -> None:
    d.tick()
    back()
    d.clock.go(LEADER_LEASE_SECONDS)
    taken_over = d.another("d2")
    taken_over.tick()
    stale = taken_over.term
    assert stale == 2

    r = back()
    r.tick()

    assert r.dispatcher.term == TERMS + 1
    for term in range(1, 100):
        with pytest.raises(LostLeadership):
            leadership.tell(r.w, term, {})


def test_an_api_that_was_started_before_the_restore_refuses_the_earlier_records_tokens_within_seconds(
    d: Dispatched,
) -> None:
    t = d.one(train())
    d.tick()
    node = Node(d, started(d, t))
    run = {"job_id": t, "run": 1}
    assert node.say("heartbeat", {"runs": [run]}) == 200
    with d.w.catalog.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE identity SET incarnation = 'restored'")

    d.clock.go(FRESH_SECONDS)

    assert node.say("publish", model_of(t, 1)) == 401
    assert d.state(t) == "running"


def test_a_job_that_waits_queued_and_paused_ones_are_as_they_were(d: Dispatched, back: Taken) -> None:
    d.engine.cpus = 0.0
    first, second = d.submit(train("a") + "---\n" + train("b", "needs: [a]\n"))
    d.tick()
    back()

    r = back()
    before = (r.state(first), r.state(second))
    r.engine.cpus = 4.0
    r.go(10)
    r.run_node(first).publish()
    r.go(1)

    assert before == ("queued", "waiting")
    assert (r.state(first), r.state(second)) == ("succeeded", "starting")
    assert verify(r.w.catalog) == []
