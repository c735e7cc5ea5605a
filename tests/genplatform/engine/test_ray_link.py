"""The line to Ray: bounded, reconnecting, and honest about what it does not know."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from engine_actors import PATIENT
from ray_cluster import RayCluster, eventually, free_port

from genplatform.engine.ray_engine import NAMESPACE, RayEngine
from genplatform.engine.ray_link import PAUSE_SECONDS, RayLink, shared_link
from genplatform.engine.ray_serving import RayServing
from genplatform.engine.seam import Liveness
from genplatform.errors import Unavailable

LONG = 30.0


class Hands:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """A Ray of this file's own, because its tests kill it."""
    with RayCluster() as started:
        yield started


@pytest.fixture(scope="module")
def clock() -> Hands:
    return Hands()


@pytest.fixture(scope="module")
def link(cluster: RayCluster, clock: Hands) -> Iterator[RayLink]:
    made = RayLink(cluster.address, NAMESPACE, cluster.environment, clock)
    yield made
    made.close()


def test_where_nobody_listens_everything_says_unavailable_and_liveness_says_unknown() -> None:
    address = f"127.0.0.1:{free_port()}"
    engine, serving = RayEngine(address), RayServing(address)
    engine.adopt(["run/default/j_a/1"])

    for call in (engine.capacity, engine.actors, engine.deaths, serving.served):
        with pytest.raises(Unavailable, match=f"Ray does not answer at {address}"):
            call()
    assert engine.liveness(["run/default/j_a/1"], LONG) == {"run/default/j_a/1": Liveness.UNKNOWN}


def test_after_a_failed_connection_the_next_is_tried_only_when_a_pause_has_passed(clock: Hands) -> None:
    link = RayLink(f"127.0.0.1:{free_port()}", NAMESPACE, clock=clock)
    with pytest.raises(Unavailable, match="does not answer"):
        link.call("actors", LONG)

    # Now an address that has no port to probe would cost a child; within the pause none is started.
    link.address = "not-an-address"
    with pytest.raises(Unavailable, match=r"does not answer at 127\.0\.0\.1"):
        link.call("actors", LONG)
    clock.now += PAUSE_SECONDS
    with pytest.raises(Unavailable, match="Ray failed"):
        link.call("actors", LONG)


def test_engine_and_serving_of_one_process_share_a_line() -> None:
    assert shared_link("127.0.0.1:1", NAMESPACE) is shared_link("127.0.0.1:1", NAMESPACE)
    assert shared_link("127.0.0.1:1", NAMESPACE) is not shared_link("127.0.0.1:2", NAMESPACE)


def test_a_dead_host_is_replaced_and_no_death_is_lost(cluster: RayCluster, link: RayLink) -> None:
    engine = RayEngine(cluster.address, link=link)
    engine.start("run/default/j_b/1", PATIENT, {}, cpus=0.5, gpus=0)
    engine.start("run/default/j_c/1", PATIENT, {}, cpus=0.5, gpus=0)
    engine.liveness(["run/default/j_b/1", "run/default/j_c/1"], LONG)
    link.close()
    killer = RayEngine(cluster.address, link=RayLink(cluster.address, NAMESPACE, cluster.environment))
    killer.kill("run/default/j_b/1")
    killer.close()

    assert eventually(engine.deaths) == ["run/default/j_b/1"]
    assert engine.liveness(["run/default/j_c/1"], LONG) == {"run/default/j_c/1": Liveness.ALIVE}


def test_a_host_that_does_not_answer_in_time_is_replaced(cluster: RayCluster, link: RayLink) -> None:
    engine = RayEngine(cluster.address, link=link)
    engine.start("run/default/j_d/1", PATIENT, {}, cpus=400, gpus=0)  # never placed, it answers no ping

    with pytest.raises(Unavailable, match=r"did not answer within 0\.5 seconds \(liveness\)"):
        link.call("liveness", 0.5, names=["run/default/j_d/1"], seconds=LONG)

    assert "run/default/j_d/1" in engine.actors()
    engine.kill("run/default/j_d/1")


def test_a_dispatcher_killed_with_kill_9_leaves_an_actor_that_another_adopts(
    cluster: RayCluster, link: RayLink, tmp_path: Path
) -> None:
    pid_file, name = tmp_path / "pid", "run/default/j_e/1"
    script = f"""
        import sys
        from genplatform.engine.ray_engine import RayEngine
        engine = RayEngine({cluster.address!r})
        engine.start({name!r}, {PATIENT!r}, {{"pid_file": {str(pid_file)!r}}}, cpus=0.5, gpus=0)
        engine.liveness([{name!r}], 30)
        print(engine._link._host._process.pid, flush=True)
        sys.stdin.read()
    """
    first = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=cluster.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert first.stdout is not None
    host = int(first.stdout.readline())
    eventually(lambda: pid_file.exists() and pid_file.read_text())
    pid = int(pid_file.read_text())
    os.kill(host, signal.SIGTERM)  # not its parent's end: it stays
    assert running(host)
    first.send_signal(signal.SIGKILL)
    first.communicate()

    second = RayEngine(cluster.address, link=link)
    assert name in second.actors()
    second.adopt([name])
    assert second.liveness([name], LONG) == {name: Liveness.ALIVE}
    assert second.deaths() == []
    eventually(lambda: not running(host))

    os.kill(pid, signal.SIGKILL)
    deaths = eventually(second.deaths)
    assert deaths == [name]
    assert deaths[0].message.startswith("The actor is dead because its worker process has died.")


def test_a_stopped_actor_is_silent_and_can_still_be_killed(cluster: RayCluster, link: RayLink, tmp_path: Path) -> None:
    pid_file, name = tmp_path / "pid", "run/default/j_f/1"
    engine = RayEngine(cluster.address, link=link)
    engine.start(name, PATIENT, {"pid_file": str(pid_file)}, cpus=0.5, gpus=0)
    eventually(lambda: pid_file.exists() and pid_file.read_text())
    pid = int(pid_file.read_text())

    os.kill(pid, signal.SIGSTOP)
    silent = engine.liveness([name], 0.5)
    engine.kill(name)

    assert silent == {name: Liveness.SILENT}
    assert eventually(engine.deaths) == [name]
    eventually(lambda: not running(pid))


def test_one_that_does_not_fit_waits_and_can_be_killed(cluster: RayCluster, link: RayLink) -> None:
    engine = RayEngine(cluster.address, link=link)
    engine.start("run/default/j_g/1", PATIENT, {}, cpus=400, gpus=0)

    assert engine.liveness(["run/default/j_g/1"], 0.5) == {"run/default/j_g/1": Liveness.SILENT}
    assert engine.capacity().free_cpus == 0.0
    assert engine.deaths() == []
    engine.kill("run/default/j_g/1")
    assert eventually(engine.deaths) == ["run/default/j_g/1"]


def test_a_cluster_that_died_is_unknown_and_what_it_held_is_gone_when_another_stands_there(
    cluster: RayCluster, link: RayLink, clock: Hands
) -> None:
    engine = RayEngine(cluster.address, link=link)
    engine.start("run/default/j_h/1", PATIENT, {}, cpus=0.5, gpus=0)
    engine.liveness(["run/default/j_h/1"], LONG)

    cluster.kill()
    while_down = [engine.liveness(["run/default/j_h/1"], 1.0) for _ in range(3)]
    with pytest.raises(Unavailable):
        engine.deaths()
    cluster.start()
    clock.now += PAUSE_SECONDS

    assert while_down == [{"run/default/j_h/1": Liveness.UNKNOWN}] * 3
    assert engine.liveness(["run/default/j_h/1"], LONG) == {"run/default/j_h/1": Liveness.GONE}
    assert engine.deaths() == ["run/default/j_h/1"]
    assert engine.capacity().free_cpus == 4.0


def running(pid: int) -> bool:
    """Tell whether a process runs (one that only waits to be reaped does not)."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
