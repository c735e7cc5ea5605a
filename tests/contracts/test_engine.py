"""What every engine promises: the Ray one on a real cluster, and the twin in this process."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from engine_actors import ECHO_APP, FAILING, PATIENT, QUICK_RUNNER, STILLBORN
from ray_cluster import RayCluster, eventually, ray_cluster

from genplatform.engine.inline import InlineEngine, InlineServing
from genplatform.engine.ray_engine import NAMESPACE, RayEngine
from genplatform.engine.ray_link import RayLink
from genplatform.engine.ray_serving import RayServing
from genplatform.engine.seam import Death, Engine, Liveness, Served, ServeOrder, Serving

__all__ = ["ray_cluster"]  # a fixture, found by its name

LONG = 30.0
NOBODY = "engine_actors:Nobody"
_numbers = count(1)


@dataclass
class Stage:
    """An engine, and how a second dispatcher gets its own on the same actors."""

    engine: Engine
    another: Callable[[], Engine]


@pytest.fixture(scope="module")
def ray_link(ray_cluster: RayCluster) -> Iterator[RayLink]:
    link = RayLink(ray_cluster.address, NAMESPACE, ray_cluster.environment)
    yield link
    link.close()


@pytest.fixture(params=["ray", "ray, warm", "inline"])
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    if request.param == "inline":
        inline = InlineEngine(cpus=4.0)
        yield Stage(inline, lambda: InlineEngine(of=inline))
        return
    cluster: RayCluster = request.getfixturevalue("ray_cluster")
    links = [request.getfixturevalue("ray_link")]

    def another() -> Engine:
        links.append(RayLink(cluster.address, NAMESPACE, cluster.environment))
        return RayEngine(cluster.address, link=links[-1], runner=QUICK_RUNNER, warmable=warmable)

    warmable = (PATIENT, STILLBORN, FAILING, NOBODY) if request.param == "ray, warm" else ()
    engine = RayEngine(cluster.address, link=links[0], runner=QUICK_RUNNER, warmable=warmable)
    if warmable:
        eventually(lambda: engine.tend(1) == 1)
    yield Stage(engine, another)
    for name in engine.actors():
        engine.kill(name)
    engine.tend(None)
    eventually(lambda: not engine.actors() and engine.capacity().free_cpus == 4.0)
    for link in links[1:]:
        link.close()


@pytest.fixture
def engine(stage: Stage) -> Engine:
    return stage.engine


@pytest.fixture
def name() -> str:
    return f"run/default/j_{next(_numbers):010d}/1"


def ended(engine: Engine, wanted: int = 1) -> list[Death]:
    """Gather deaths until there are so many."""
    found: list[Death] = []

    def enough() -> bool:
        found.extend(engine.deaths())
        return len(found) >= wanted

    eventually(enough)
    return found


def test_capacity_of_an_idle_cluster_is_all_free(engine: Engine) -> None:
    capacity = engine.capacity()

    assert (capacity.cpus, capacity.free_cpus) == (4.0, 4.0)
    assert (capacity.gpus, capacity.free_gpus) == (0.0, 0.0)
    assert [(node.cpus, node.gpus) for node in capacity.nodes] == [(4.0, 0.0)]


def test_what_a_started_actor_takes_is_free_no_more_and_free_again_after_its_end(engine: Engine, name: str) -> None:
    engine.start(name, PATIENT, {}, cpus=1.5, gpus=0)
    at_once = engine.capacity().free_cpus
    engine.liveness([name], LONG)
    eventually(lambda: engine.capacity().free_cpus == 2.5)
    engine.stop(name, "shutdown")

    assert at_once <= 2.5  # Ray counts one that it is just placing twice for a moment
    assert ended(engine) == [name]
    eventually(lambda: engine.capacity().free_cpus == 4.0)


def test_a_started_actor_lives_under_its_name_with_its_order(engine: Engine, name: str, tmp_path: Path) -> None:
    engine.start(name, PATIENT, {"pid_file": str(tmp_path / "pid")}, cpus=0.5, gpus=0)

    assert engine.liveness([name], LONG) == {name: Liveness.ALIVE}
    assert engine.actors() == [name]
    eventually((tmp_path / "pid").exists)


def test_starting_one_that_exists_keeps_it_as_it_is(engine: Engine, name: str, tmp_path: Path) -> None:
    engine.start(name, PATIENT, {"pid_file": str(tmp_path / "one")}, cpus=0.5, gpus=0)
    engine.liveness([name], LONG)
    engine.start(name, PATIENT, {"pid_file": str(tmp_path / "two")}, cpus=0.5, gpus=0)

    assert engine.liveness([name], LONG) == {name: Liveness.ALIVE}
    assert engine.actors() == [name]
    assert engine.deaths() == []


def test_an_actor_asked_to_stop_ends_with_its_word_and_is_told_once(engine: Engine, name: str) -> None:
    engine.start(name, PATIENT, {}, cpus=0.5, gpus=0)
    engine.stop(name, "pause")

    deaths = ended(engine)

    assert deaths == [name]
    assert "stopped for pause" in deaths[0].message
    assert engine.deaths() == []
    eventually(lambda: engine.actors() == [])


def test_a_killed_actor_is_told_once_and_gone(engine: Engine, name: str) -> None:
    engine.start(name, PATIENT, {}, cpus=0.5, gpus=0)
    engine.liveness([name], LONG)
    engine.kill(name)

    deaths = ended(engine)

    assert deaths == [name]
    assert "killed" in deaths[0].message
    assert engine.deaths() == []
    assert engine.liveness([name], LONG) == {name: Liveness.GONE}


@pytest.mark.parametrize(
    ("actor", "order", "message"),
    [
        (STILLBORN, {"recipe": "ghan"}, "ValueError: no such recipe: ghan"),
        (FAILING, {}, "RuntimeError: the loss is not a number"),
        (NOBODY, {}, "engine_actors:Nobody cannot be loaded"),
        ("no_such_module:Actor", {}, "no_such_module:Actor cannot be loaded"),
        ("nonsense", {}, "'nonsense' is not of the form module:attribute"),
    ],
    ids=["constructor", "join", "no class", "no module", "no reference"],
)
def test_an_actor_that_cannot_live_is_told_with_its_reason(
    engine: Engine, name: str, actor: str, order: dict[str, str], message: str
) -> None:
    engine.start(name, actor, order, cpus=0.5, gpus=0)

    deaths = ended(engine)

    assert deaths == [name]
    assert deaths[0].message.startswith(message)
    eventually(lambda: engine.actors() == [])


def test_what_does_not_exist_is_gone_and_stopping_or_killing_it_is_quiet(engine: Engine, name: str) -> None:
    engine.stop(name, "shutdown")
    engine.kill(name)

    assert engine.liveness([name], LONG) == {name: Liveness.GONE}
    assert engine.liveness([], LONG) == {}
    assert engine.deaths() == []


def test_an_adopted_actor_is_watched(stage: Stage, name: str) -> None:
    stage.engine.start(name, PATIENT, {}, cpus=0.5, gpus=0)
    other = stage.another()
    other.adopt([name])

    assert other.deaths() == []
    assert other.liveness([name], LONG) == {name: Liveness.ALIVE}
    other.stop(name, "shutdown")

    assert ended(other) == [name]


def test_adopting_what_is_gone_is_told_as_a_death(engine: Engine, name: str) -> None:
    engine.adopt([name])

    deaths = ended(engine)

    assert deaths == [name]
    assert deaths[0].message == "It does not exist."
    assert engine.deaths() == []


def test_one_that_nobody_here_started_or_adopted_is_not_told(stage: Stage, name: str) -> None:
    other = stage.another()
    stage.engine.start(name, PATIENT, {}, cpus=0.5, gpus=0)
    stage.engine.kill(name)

    assert ended(stage.engine) == [name]
    assert other.deaths() == []


class Endpoints:
    """Serving under test, and how far-away work is finished: Ray does it by itself, the twin is told."""

    def __init__(self, serving: Serving, another: Callable[[], Serving]) -> None:
        self.serving = serving
        self.another = another

    def settled(self, name: str, state: str, ready: int, generation: int) -> Served:
        """Wait until the endpoint is so."""
        if isinstance(self.serving, InlineServing):
            message = "" if state == "running" else "ValueError: the weights are not there"
            self.serving.become(name, state, ready, message)

        def so() -> Served | None:
            one = self.serving.served().get(name)
            return one if one and (one.state, one.ready, one.generation) == (state, ready, generation) else None

        answer = eventually(so)
        assert isinstance(answer, Served)
        return answer


@pytest.fixture(scope="module", params=["ray", "inline"])
def endpoints(request: pytest.FixtureRequest) -> Iterator[Endpoints]:
    if request.param == "inline":
        twin = InlineServing()
        yield Endpoints(twin, lambda: twin)
        return
    cluster: RayCluster = request.getfixturevalue("ray_cluster")
    link: RayLink = request.getfixturevalue("ray_link")
    again = RayLink(cluster.address, NAMESPACE, cluster.environment)
    yield Endpoints(
        RayServing(cluster.address, app=ECHO_APP, link=link),
        lambda: RayServing(cluster.address, app=ECHO_APP, link=again),
    )
    again.close()


def order(name: str, word: str, generation: int = 1, replicas: int = 1) -> ServeOrder:
    return ServeOrder(name, {"route": f"/e/{name}", "word": word, "cpus": 0.5}, replicas, replicas, generation)


def test_nothing_is_served_at_first(endpoints: Endpoints) -> None:
    assert endpoints.serving.served() == {}
    endpoints.serving.remove("nobody")


def test_an_endpoint_starts_runs_changes_is_found_again_and_goes(endpoints: Endpoints) -> None:
    endpoints.serving.apply(order("digits", "one"))
    first = endpoints.serving.served()["digits"]
    running = endpoints.settled("digits", "running", 1, 1)

    endpoints.serving.apply(order("digits", "one"))
    same = endpoints.serving.served()["digits"]
    endpoints.another().apply(order("digits", "one"))
    found = endpoints.another().served()["digits"]
    endpoints.serving.apply(order("digits", "two", generation=2, replicas=2))
    changing = endpoints.serving.served()["digits"]
    changed = endpoints.settled("digits", "running", 2, 2)
    endpoints.serving.remove("digits")
    eventually(lambda: "digits" not in endpoints.serving.served())

    assert first.state == "starting"
    assert running.url.endswith("/e/digits")
    assert running == same == found
    # The old replica answers while the new ones start.
    assert (changing.state, changing.ready, changing.generation) == ("starting", 1, 2)
    assert changed.url == running.url


def test_one_that_cannot_start_fails_with_its_reason(endpoints: Endpoints) -> None:
    endpoints.serving.apply(order("broken", "broken"))

    failed = endpoints.settled("broken", "failed", 0, 1)

    assert failed.message == "ValueError: the weights are not there"
    endpoints.serving.remove("broken")


def test_a_served_endpoint_answers_at_its_url(ray_cluster: RayCluster, ray_link: RayLink) -> None:
    serving = RayServing(ray_cluster.address, app=ECHO_APP, link=ray_link)
    serving.apply(order("echo", "hello"))
    eventually(lambda: serving.served()["echo"].state == "running")

    with urllib.request.urlopen(serving.served()["echo"].url + "/generate") as answer:
        said = answer.read()

    assert b'"word":"hello"' in said
    serving.remove("echo")
