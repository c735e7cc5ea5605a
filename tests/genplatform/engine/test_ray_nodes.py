"""Several nodes of one Ray: which they are, who is kept off them, and how an actor ends with its node or its memory."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from engine_actors import PATIENT
from ray_cluster import RayCluster, eventually
from small_platform import API_URL, TENANT, SmallPlatform, train

from genplatform.dispatch.dispatcher import Dispatcher
from genplatform.dispatch.stopping import CANCEL_GRACE_SECONDS
from genplatform.engine.ray_engine import NAMESPACE, RayEngine
from genplatform.engine.ray_link import RayLink
from genplatform.engine.seam import Death, End, Liveness
from genplatform.services import cancel
from genplatform.services.runs import START_SECONDS

pytestmark = pytest.mark.timeout(300)
LONG = 30.0
# Ray takes a node for dead once it has missed it several times in a row.
MISSED = 120.0
_numbers = count(1)


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """A head with two CPUs, named like its machine, and a node called beta with two."""
    with RayCluster(cpus=2) as made:
        made.join("beta", 2)
        yield made


@pytest.fixture(scope="module")
def engine(cluster: RayCluster) -> Iterator[RayEngine]:
    link = RayLink(cluster.address, NAMESPACE, cluster.environment)
    yield RayEngine(cluster.address, link=link)
    link.close()


@pytest.fixture(autouse=True)
def emptied(engine: RayEngine) -> Iterator[None]:
    yield
    for name in engine.actors():
        engine.kill(name)
    eventually(lambda: not engine.actors())
    engine.deaths()


def name() -> str:
    return f"run/default/j_{next(_numbers):010d}/1"


def started(engine: RayEngine, avoid: list[str], pid_file: Path | None = None) -> str:
    actor = name()
    order = {"pid_file": str(pid_file)} if pid_file else {}
    engine.start(actor, PATIENT, order, cpus=1, gpus=0, avoid=avoid)
    return actor


def deaths(engine: RayEngine, actors: list[str]) -> dict[str, Death]:
    """Wait until the deaths of all these actors are told, each of them once, and return them."""
    found: dict[str, Death] = {}

    def told() -> bool:
        found.update((str(one), one) for one in engine.deaths())
        return found.keys() >= set(actors)

    eventually(told, MISSED)
    return found


def death(engine: RayEngine, actor: str) -> Death:
    return deaths(engine, [actor])[actor]


def test_nodes_are_called_as_their_operator_or_their_machine_does(engine: RayEngine) -> None:
    assert engine.nodes() == sorted(["beta", socket.gethostname()])


def test_each_node_is_counted_with_what_it_has(engine: RayEngine) -> None:
    assert [(node.cpus, node.gpus) for node in engine.capacity().nodes] == [(2.0, 0.0), (2.0, 0.0)]


@pytest.fixture
def waiting(engine: RayEngine, catalog_url: str, tmp_path: Path) -> Iterator[Waiting]:
    """A job whose run fits the sum of what is free and no node: Ray lets it wait, and says nothing."""
    holding = {f"hold/{next(_numbers)}": avoid for avoid in ([socket.gethostname()], ["beta"])}
    for actor, avoid in holding.items():
        engine.start(actor, PATIENT, {}, cpus=1, gpus=0, avoid=avoid)
    assert engine.liveness(list(holding), LONG) == dict.fromkeys(holding, Liveness.ALIVE)
    eventually(lambda: engine.capacity().free_cpus == 2.0)
    made = Waiting(engine, SmallPlatform(catalog_url, tmp_path))
    yield made
    made.p.close()


class Waiting:
    """A dispatcher on Ray whose time is in the test's hand, and the job."""

    def __init__(self, engine: RayEngine, p: SmallPlatform) -> None:
        self.p = p
        for _ in range(next(_numbers)):
            p.w.randbelow(2)  # so that its job has an id of its own: names of actors are used once
        self._dispatcher = Dispatcher(p.w, engine, "d1", API_URL)
        self.job = p.one(train(more="resources: {cpus_per_worker: 2}\n"))
        self._dispatcher.tick()
        self.actor = p.row(self.job).run_key.actor
        # Ray lists it in its own time, which the test's does not wait for.
        eventually(lambda: self.actor in engine.actors())

    def go(self, seconds: float) -> None:
        """Let so much time pass, with the dispatcher going round in it."""
        until = self.p.clock.now + seconds
        while self.p.clock.now < until:
            self.p.clock.go(1.0)
            self._dispatcher.tick()


def test_a_run_that_ray_lets_wait_is_given_up_after_the_start_deadline_and_asked_for_no_more(
    engine: RayEngine, waiting: Waiting
) -> None:
    p, job = waiting.p, waiting.job
    waiting.go(START_SECONDS - 5)
    before = (p.state(job), waiting.actor in engine.actors())

    waiting.go(10)

    assert before == ("starting", True), p.job(job)["runs"]
    first = p.job(job)["runs"][0]
    assert (first["state"], first["cause"]) == ("failed", "start_failed")
    eventually(lambda: waiting.actor not in engine.actors())


def test_a_run_that_ray_lets_wait_is_cancelled_within_the_grace(engine: RayEngine, waiting: Waiting) -> None:
    cancel.cancel(waiting.p.w, TENANT, waiting.job)

    waiting.go(CANCEL_GRACE_SECONDS + 2)

    assert waiting.p.state(waiting.job) == "cancelled"
    eventually(lambda: waiting.actor not in engine.actors())
    eventually(lambda: engine.capacity().free_cpus == 2.0)


def test_what_is_free_on_avoided_nodes_is_not_counted_and_no_actor_comes_there(engine: RayEngine) -> None:
    here = socket.gethostname()
    eventually(lambda: engine.capacity().free_cpus == 4.0)
    avoiding = [engine.capacity([node]) for node in (here, "beta", "nobody")]
    actors = [started(engine, [here]) for _ in range(2)]
    assert engine.liveness(actors, LONG) == dict.fromkeys(actors, Liveness.ALIVE)

    waiting = started(engine, [here])

    assert [(c.cpus, c.free_cpus) for c in avoiding] == [(4.0, 2.0), (4.0, 2.0), (4.0, 4.0)]
    assert engine.liveness([waiting], 2.0) == {waiting: Liveness.SILENT}
    eventually(lambda: engine.capacity([here]).free_cpus == 0.0)
    for actor in actors:
        engine.kill(actor)
    assert {one.node for one in deaths(engine, actors).values()} == {"beta"}


def test_an_actor_is_kept_off_every_one_of_several_nodes(cluster: RayCluster, engine: RayEngine) -> None:
    cluster.join("third", 2)
    eventually(lambda: "third" in engine.nodes())
    actors = [started(engine, ["beta", socket.gethostname()]) for _ in range(2)]
    assert engine.liveness(actors, LONG) == dict.fromkeys(actors, Liveness.ALIVE)

    for actor in actors:
        engine.kill(actor)

    assert {one.node for one in deaths(engine, actors).values()} == {"third"}
    cluster.leave("third")
    eventually(lambda: "third" not in engine.nodes(), MISSED)


def test_a_killed_process_is_told_as_such_with_its_node(engine: RayEngine, tmp_path: Path) -> None:
    actor = started(engine, ["beta"], tmp_path / "pid")
    assert engine.liveness([actor], LONG) == {actor: Liveness.ALIVE}
    eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)

    told = death(engine, actor)

    assert (told.end, told.node) == (End.PROCESS, socket.gethostname())


def test_an_actor_that_an_engine_adopted_is_told_with_its_node(cluster: RayCluster, engine: RayEngine) -> None:
    actor = started(engine, [socket.gethostname()])
    link = RayLink(cluster.address, NAMESPACE, cluster.environment)
    other = RayEngine(cluster.address, link=link)
    other.adopt([actor])
    other.deaths()
    assert other.liveness([actor], LONG) == {actor: Liveness.ALIVE}
    engine.kill(actor)

    told = death(other, actor)

    assert (told.end, told.node) == (End.KILLED, "beta")
    link.close()


def test_an_actor_ended_for_the_memory_of_its_node_is_told_so_and_hides_no_other_death(
    cluster: RayCluster, engine: RayEngine
) -> None:
    # On this node whatever is used is too much.
    cluster.join("small", 1, RAY_memory_usage_threshold="0.01", RAY_memory_monitor_refresh_ms="250")
    eventually(lambda: "small" in engine.nodes())
    other = started(engine, ["small"])
    actor = started(engine, ["beta", socket.gethostname()])

    told = death(engine, actor)
    engine.kill(other)

    assert told.end is End.MEMORY
    assert told.message.startswith("Its node ran low on memory: ")
    assert death(engine, other).end is End.KILLED
    cluster.leave("small")
    eventually(lambda: "small" not in engine.nodes(), MISSED)


def test_an_actor_whose_node_dies_is_told_so(cluster: RayCluster, engine: RayEngine) -> None:
    cluster.join("gamma", 1)
    eventually(lambda: "gamma" in engine.nodes())
    actor = started(engine, ["beta", socket.gethostname()])
    assert engine.liveness([actor], LONG) == {actor: Liveness.ALIVE}
    cluster.leave("gamma")

    told = death(engine, actor)

    assert (told.end, told.node) == (End.NODE, "gamma")
    assert "its node has died" in told.message
    eventually(lambda: "gamma" not in engine.nodes())
