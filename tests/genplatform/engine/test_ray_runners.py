"""Warm runners on a real Ray: handed one order each, found again by whoever comes next, and nothing left of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import psutil
import pytest
from engine_actors import FULL_RUNNER, PATIENT, QUICK_RUNNER, QuickRunner
from ray_cluster import RayCluster, eventually, ray_cluster

from genplatform.engine.ray_engine import NAMESPACE, RayEngine
from genplatform.engine.ray_link import RayLink
from genplatform.engine.seam import Death, End, Liveness
from genplatform.errors import Unavailable
from genworkers.runner import SPARE_BYTES, is_roomy

__all__ = ["ray_cluster"]  # a fixture, found by its name

LONG = 30.0
MiB = 2**20
# A dispatcher that dies between writing down who is to become what, and telling it.
DIES = """
import os, sys
import ray
from ray.util import list_named_actors
from genplatform.engine.ray_runners import RayRunners
ray.init(address=sys.argv[1], namespace=sys.argv[2], log_to_driver=False, logging_level="error")
runners = RayRunners(sys.argv[2])
runners.tend(None, "")
runners.tell = lambda *_: os._exit(9)
runners.give(sys.argv[3], sys.argv[4], {"pid_file": sys.argv[5]}, 1.0, list_named_actors(), ())
"""
# Read by Python as it starts: a host that is killed once, at a place in the middle of handing over, if it is to be.
KILLED_ONCE = """
import os, pathlib, signal
from genplatform.engine import ray_groups
from genplatform.engine.ray_runners import RayRunners

when, name = os.environ["KILLED"].split()
owner = ray_groups if name == "hold" else RayRunners
act = getattr(owner, name)

def killed(*args):
    if when == "after":
        act(*args)
    armed = pathlib.Path(os.environ["ARMED"])
    if armed.exists():
        armed.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return act(*args)

setattr(owner, name, killed)
"""
# Drivers whose controllers, as Ray Train's do, make a placement group; they are killed, one after the other. Their
# job lives on, as a dispatcher's does.
LEAKS = """
import os, signal, sys
import ray
from ray.util import placement_group

class Controller:
    def go(self):
        return placement_group([{"CPU": 0.5}]).wait(30)

class Driver:
    def go(self):
        self.controller = ray.remote(num_cpus=0)(Controller).remote()
        ray.get(self.controller.go.remote())
        return os.getpid()

ray.init(address=sys.argv[1], namespace=sys.argv[2], log_to_driver=False, logging_level="error")
for number in range(int(sys.argv[3])):
    driver = ray.remote(num_cpus=0)(Driver).options(name=f"run/leak/{number}/1", lifetime="detached").remote()
    os.kill(ray.get(driver.go.remote()), signal.SIGKILL)
print("done", flush=True)
sys.stdin.read()
"""
_numbers = count(1)


class Cluster:
    """The cluster, and as many dispatchers' engines as a test wants."""

    def __init__(self, cluster: RayCluster, stack: ExitStack) -> None:
        self._cluster, self._stack = cluster, stack

    def engine(self, runner: str = QUICK_RUNNER, **changes: str) -> RayEngine:
        link = RayLink(self._cluster.address, NAMESPACE, self._cluster.environment | changes)
        engine = RayEngine(self._cluster.address, link=link, runner=runner, warmable=(PATIENT,))
        self._stack.callback(engine.close)
        return engine

    @property
    def environment(self) -> dict[str, str]:
        return self._cluster.environment

    def script(self, text: str, *arguments: str) -> int:
        """Run a program of its own against the cluster; returns its exit code."""
        command = [sys.executable, "-c", text, self._cluster.address, NAMESPACE, *arguments]
        return subprocess.run(command, env=self._cluster.environment, timeout=90, check=False).returncode

    @contextmanager
    def living(self, text: str, *arguments: str) -> Iterator[None]:
        """Run such a program up to its word, and let it live meanwhile."""
        command = [sys.executable, "-c", text, self._cluster.address, NAMESPACE, *arguments]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, env=self._cluster.environment, text=True, **pipes) as program:
            assert program.stdout is not None
            assert "done\n" in iter(program.stdout.readline, "")
            yield
            program.communicate(timeout=LONG)

    def processes(self, title: str) -> list[int]:
        """The pids of the cluster's processes that are called so, at work on a call or not."""
        token = self._cluster.environment["RAY_AUTH_TOKEN_PATH"]
        # What psutil cannot read it gives as None: a process that has just ended is no error.
        found = [p for p in psutil.process_iter(["cmdline", "environ"]) if (p.info["environ"] or {})]
        mine = [p for p in found if p.info["environ"].get("RAY_AUTH_TOKEN_PATH") == token]
        return [p.pid for p in mine if (p.info["cmdline"] or [""])[0].rstrip().partition(".")[0] == title]


@pytest.fixture
def cluster(ray_cluster: RayCluster) -> Iterator[Cluster]:
    with ExitStack() as stack:
        made = Cluster(ray_cluster, stack)
        yield made
        last = made.engine()
        for name in last.actors():
            last.kill(name)
        last.tend(0)
        eventually(lambda: last.tend(None) == 0 and last.capacity().free_cpus == 4.0)
        eventually(lambda: not made.processes("ray::QuickRunner") and not made.processes("ray::Patient"))


@pytest.fixture
def warm(cluster: Cluster) -> RayEngine:
    """An engine that has one warm runner."""
    engine = cluster.engine()
    eventually(lambda: engine.tend(1) == 1)
    return engine


@pytest.fixture
def name() -> str:
    return f"run/default/j_warm{next(_numbers):06d}/1"


@pytest.fixture
def pid_file(tmp_path: Path) -> Path:
    return tmp_path / "pid"


def read(file: Path) -> int:
    return int(str(eventually(lambda: file.exists() and file.read_text())))


def ended(engine: RayEngine) -> Death:
    found: list[Death] = []
    eventually(lambda: found.extend(engine.deaths()) or found)
    assert len(found) == 1
    return found[0]


def start(engine: RayEngine, name: str, file: Path, cpus: float = 1.0) -> int:
    engine.start(name, PATIENT, {"pid_file": str(file)}, cpus=cpus, gpus=0)
    return read(file)


def test_an_idle_runner_takes_no_room_and_is_nobodys_work(warm: RayEngine) -> None:
    assert warm.actors() == []
    assert warm.capacity().free_cpus == 4.0


def test_a_run_becomes_the_idle_process_under_its_own_name_and_takes_its_room(
    warm: RayEngine, cluster: Cluster, name: str, pid_file: Path
) -> None:
    idle = cluster.processes("ray::QuickRunner")

    pid = start(warm, name, pid_file, 1.5)

    assert [pid] == idle
    assert warm.actors() == [name]
    assert warm.capacity().free_cpus == 2.5
    # To whoever lists processes it is what it became.
    eventually(lambda: warm.capacity() and cluster.processes("ray::Patient") == [pid])


def test_a_runner_is_used_once_and_another_takes_its_place(
    warm: RayEngine, cluster: Cluster, name: str, pid_file: Path
) -> None:
    first = start(warm, name, pid_file)
    warm.stop(name, "shutdown")
    over = ended(warm)
    eventually(lambda: warm.tend(1) == 1)

    assert (over, over.end) == (name, End.OVER)
    assert not psutil.pid_exists(first)
    assert first not in cluster.processes("ray::QuickRunner")
    eventually(lambda: warm.capacity().free_cpus == 4.0)


def test_two_dispatchers_never_hand_the_same_runner_twice(cluster: Cluster, warm: RayEngine, tmp_path: Path) -> None:
    other = cluster.engine()
    eventually(lambda: other.tend(None) == 1)

    pids = [start(engine, f"run/default/j_twice/{n}", tmp_path / str(n)) for n, engine in enumerate((warm, other), 1)]

    assert len(set(pids)) == 2
    assert warm.actors() == other.actors() == ["run/default/j_twice/1", "run/default/j_twice/2"]


def test_the_next_dispatcher_finds_a_run_that_was_handed_over_and_watches_it(
    cluster: Cluster, warm: RayEngine, name: str, pid_file: Path
) -> None:
    pid = start(warm, name, pid_file)
    warm.close()
    heir = cluster.engine()
    heir.adopt(heir.actors())

    early = heir.deaths()
    alive = heir.liveness([name], LONG)
    heir.stop(name, "pause")

    assert (early, alive) == ([], {name: Liveness.ALIVE})
    assert ended(heir) == name
    eventually(lambda: not psutil.pid_exists(pid))
    eventually(lambda: heir.capacity().free_cpus == 4.0)


def test_a_run_whose_process_stands_still_is_silent_and_not_gone(
    cluster: Cluster, warm: RayEngine, name: str, pid_file: Path
) -> None:
    pid = start(warm, name, pid_file)
    os.kill(pid, signal.SIGSTOP)

    seen = cluster.engine().liveness([name], 1.0)

    os.kill(pid, signal.SIGCONT)
    assert seen == {name: Liveness.SILENT}


def test_a_dispatcher_that_dies_in_the_middle_of_handing_over_leaves_it_to_the_next(
    cluster: Cluster, warm: RayEngine, name: str, pid_file: Path
) -> None:
    assert cluster.script(DIES, name, PATIENT, str(pid_file)) == 9
    listed, untold = warm.actors(), not pid_file.exists()

    warm.adopt([name])
    warm.deaths()

    assert (listed, untold) == ([name], True)
    read(pid_file)
    assert warm.capacity().free_cpus == 3.0


@pytest.mark.parametrize("killed", ["before _enter", "before hold", "before tell", "after tell"])
def test_a_host_that_is_killed_in_the_middle_of_handing_over_leaves_one_run_that_is_told_and_held(
    cluster: Cluster, name: str, tmp_path: Path, pid_file: Path, killed: str
) -> None:
    armed = tmp_path / "armed"
    (tmp_path / "sitecustomize.py").write_text(KILLED_ONCE)
    path = os.pathsep.join([str(tmp_path), cluster.environment["PYTHONPATH"]])
    engine = cluster.engine(PYTHONPATH=path, KILLED=killed, ARMED=str(armed))
    eventually(lambda: engine.tend(1) == 1)
    idle = cluster.processes("ray::QuickRunner")
    armed.touch()

    with pytest.raises(Unavailable):
        engine.start(name, PATIENT, {"pid_file": str(pid_file)}, cpus=1.0, gpus=0)
    eventually(lambda: _reached(lambda: engine.tend(None) is not None))
    engine.start(name, PATIENT, {"pid_file": str(pid_file)}, cpus=1.0, gpus=0)
    engine.deaths()

    assert not armed.exists()
    assert [read(pid_file)] == idle
    assert engine.actors() == [name]
    assert engine.liveness([name], LONG) == {name: Liveness.ALIVE}
    assert engine.deaths() == []
    eventually(lambda: engine.capacity().free_cpus == 3.0)


def _reached(ask: Callable[[], bool]) -> bool:
    try:
        return ask()
    except Unavailable:
        return False


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "with a run"])
def test_a_killed_runner_is_replaced_and_only_a_run_that_it_had_is_told_as_a_death(
    warm: RayEngine, cluster: Cluster, name: str, pid_file: Path, busy: bool
) -> None:
    pid = start(warm, name, pid_file) if busy else cluster.processes("ray::QuickRunner")[0]

    os.kill(pid, signal.SIGKILL)
    deaths = [ended(warm)] if busy else []
    eventually(lambda: cluster.processes("ray::QuickRunner") not in ([], [pid]) or not warm.tend(1))
    eventually(lambda: warm.tend(1) == 1)

    assert [(death, death.end) for death in deaths + warm.deaths()] == ([(name, End.PROCESS)] if busy else [])
    assert warm.actors() == []
    eventually(lambda: warm.capacity().free_cpus == 4.0)


def test_a_runner_that_stands_still_is_handed_nothing(
    warm: RayEngine, cluster: Cluster, name: str, pid_file: Path
) -> None:
    (idle,) = cluster.processes("ray::QuickRunner")
    os.kill(idle, signal.SIGSTOP)

    pid = start(warm, name, pid_file)

    os.kill(idle, signal.SIGCONT)
    assert pid != idle
    assert warm.actors() == [name]


def test_a_runner_whose_raylet_died_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = QuickRunner({})
    before = runner.ping()["orphaned"]
    monkeypatch.setattr(os, "getppid", lambda: 1)

    assert (before, runner.ping()["orphaned"]) == (False, True)


def test_what_a_run_held_is_given_back_though_nobody_watched_it_die(
    cluster: Cluster, warm: RayEngine, name: str, pid_file: Path
) -> None:
    pid = start(warm, name, pid_file)
    warm.close()
    os.kill(pid, signal.SIGKILL)
    heir = cluster.engine()
    eventually(lambda: not heir.actors())

    heir.tend(None)

    assert eventually(lambda: heir.capacity().free_cpus == 4.0)


def test_what_is_too_much_is_ended_and_none_at_all_is_kept_if_asked(warm: RayEngine, cluster: Cluster) -> None:
    eventually(lambda: warm.tend(2) == 2)
    warm.tend(1)
    eventually(lambda: len(cluster.processes("ray::QuickRunner")) == 1)
    warm.tend(0)

    eventually(lambda: cluster.processes("ray::QuickRunner") == [])
    assert warm.tend(None) == 0


def test_where_memory_is_short_none_is_kept_nor_made_again_at_once(cluster: Cluster) -> None:
    engine = cluster.engine(FULL_RUNNER)

    engine.tend(1)
    eventually(lambda: cluster.processes("ray::FullRunner"))
    eventually(lambda: engine.tend(1) == 0 and not cluster.processes("ray::FullRunner"))
    engine.tend(1)

    assert cluster.processes("ray::FullRunner") == []


@pytest.mark.parametrize(
    ("free", "whole", "roomy"),
    [
        (SPARE_BYTES, 8 * SPARE_BYTES, True),
        (SPARE_BYTES - MiB, 4 * SPARE_BYTES, False),
        (5 * SPARE_BYTES, 64 * SPARE_BYTES, False),
        (7 * SPARE_BYTES, 64 * SPARE_BYTES, True),
    ],
)
def test_more_is_left_free_on_larger_machines(free: int, whole: int, roomy: bool) -> None:
    assert is_roomy(free, whole) is roomy


def test_drivers_killed_in_a_loop_leave_nothing_behind(cluster: Cluster) -> None:
    engine = cluster.engine()

    with cluster.living(LEAKS, "6"):
        leaked = 4.0 - engine.capacity().free_cpus
        engine.tend(None)
        eventually(lambda: engine.capacity().free_cpus == 4.0)

    assert leaked == 3.0
    assert engine.actors() == []
