"""A run of two workers on a real Ray: each of its processes hangs or dies once, and its end shows nothing of that."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from gang_process import Gangs
from ray_cluster import RayCluster, eventually
from safetensors.torch import load_file
from torch import Tensor

from genplatform.engine.ray_engine import NAMESPACE, RayEngine
from genplatform.engine.ray_link import RayLink
from genplatform.engine.seam import RUN_ACTOR, Death, End
from genplatform.store import Store

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]

Platform = Any  # conftest.FakePlatform, which an importlib-mode test cannot import
Order = Callable[..., dict[str, Any]]

EVERY = 50  # steps between two checkpoints
SILENT_SECONDS = 15
START_SECONDS = 20
TRAINERS = "RayTrainWorker"
# Processes that Ray keeps for itself, one each a cluster; Ray Train asks the last for room, and needs none.
RAYS_OWN = ("IDLE", "DashboardAgent", "RuntimeEnvAgent", "_AutoscalingCoordinatorActor")
FILES = ("modules.safetensors", "optimizers.safetensors")


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """A Ray of this file's own: its settings are, and its processes are counted."""
    one = RayCluster()
    one.environment = one.environment | {
        "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": str(SILENT_SECONDS),
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(START_SECONDS),
        "OMP_NUM_THREADS": "1",
    }
    with one:
        yield one


@pytest.fixture(scope="module")
def engine(cluster: RayCluster) -> Iterator[RayEngine]:
    link = RayLink(cluster.address, NAMESPACE, cluster.environment)
    yield RayEngine(cluster.address, link=link, warmable=())
    link.close()


class Runs:
    """The runs of one job, one after another, as a platform opens them."""

    def __init__(self, engine: RayEngine, platform: Platform, make: Order) -> None:
        self.engine, self.platform, self.make = engine, platform, make
        self.number = 0

    def start(self, steps: int, workers: int = 2) -> str:
        """Open the next run, from what was saved last."""
        self.number += 1
        name = f"run/default/j_abc/{self.number}"
        order = self.make(
            self.platform.url,
            run=self.number,
            actor=name,
            budget={"steps": steps},
            checkpoint={"every": EVERY, "keep": 3},
            sheet_every=100_000,
            resume=[{name: one[name] for name in ("key", "sha256", "step")} for one in self.saved()[:3]],
            heartbeat_seconds=1,
            gang={"workers": workers, "cpus": 1.0, "gpus": 0.0, "avoid": []},
        )
        self.engine.start(name, RUN_ACTOR, order, cpus=0.0, gpus=0.0)
        return name

    def saved(self) -> list[dict[str, Any]]:
        """Return the recorded checkpoints, newest first."""
        saved = [body for body in self.platform.bodies("/artifacts") if body["kind"] == "checkpoint"]
        return sorted(saved, key=lambda body: -int(body["step"]))

    def until_one_is_saved(self) -> None:
        """Wait for a checkpoint of the run under way."""
        self.platform.wait_for(lambda: any(body["run"] == self.number for body in self.saved()), 240)

    def ended(self) -> Death:
        """Wait for the end of the run under way."""
        (death,) = eventually(self.engine.deaths, 120)  # type: ignore[misc]
        return death

    def said(self, door: str) -> dict[str, Any]:
        """Return what was said there last."""
        body: dict[str, Any] = self.platform.bodies(door)[-1]
        assert body["run"] == self.number
        return body


def trainers(cluster: RayCluster) -> list[psutil.Process]:
    """Return the processes of Ray Train's workers, of this cluster alone."""
    return [one for one in _processes(cluster) if TRAINERS in _title(one)]


def drivers(cluster: RayCluster) -> list[psutil.Process]:
    return [one for one in _processes(cluster) if "RunActor" in _title(one)]


def _processes(cluster: RayCluster) -> list[psutil.Process]:
    assert cluster._owner is not None
    return psutil.Process(cluster._owner.pid).children(recursive=True)


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def left(engine: RayEngine, cluster: RayCluster) -> list[str]:
    """What there still is of any run: room that is taken, actors, processes of workers."""
    engine.tend(None)
    taken = 4.0 - engine.capacity().free_cpus
    titles = [_title(one).strip() for one in _processes(cluster)]
    at_work = [one for one in titles if one.startswith("ray::") and not any(name in one for name in RAYS_OWN)]
    return [*([f"{taken:g} CPUs"] if taken else []), *engine.actors(), *at_work]


def wait_until_nothing_is_left(engine: RayEngine, cluster: RayCluster) -> None:
    found: list[str] = []

    def is_clean() -> bool:
        found[:] = left(engine, cluster)
        return not found

    try:
        eventually(is_clean, 120)
    except AssertionError as error:
        raise AssertionError(f"There is left: {found}") from error


def test_a_gang_of_which_everything_is_lost_once_makes_what_an_undisturbed_one_makes(
    cluster: RayCluster, engine: RayEngine, platform: Platform, store: Store, run_order: Order, tmp_path: Path
) -> None:
    runs, endless = Runs(engine, platform, run_order), 1_000_000

    # A worker that hangs is found in a bound, and its gang ends whole.
    runs.start(endless)
    runs.until_one_is_saved()
    os.kill(trainers(cluster)[0].pid, signal.SIGSTOP)
    assert runs.ended().end is End.OVER
    failed = runs.said("/failed")
    assert failed["cause"] == "node_lost"
    assert f"did not answer for {SILENT_SECONDS} s" in failed["message"]
    wait_until_nothing_is_left(engine, cluster)

    # So is one that dies.
    runs.start(endless)
    runs.until_one_is_saved()
    os.kill(trainers(cluster)[-1].pid, signal.SIGKILL)
    assert runs.ended().end is End.OVER
    assert runs.said("/failed")["cause"] == "node_lost"
    wait_until_nothing_is_left(engine, cluster)

    # What a killed driver leaves is swept.
    runs.start(endless)
    runs.until_one_is_saved()
    os.kill(drivers(cluster)[0].pid, signal.SIGKILL)
    assert runs.ended().end is End.PROCESS
    wait_until_nothing_is_left(engine, cluster)

    # A gang that is asked to pause lets go after a checkpoint.
    name = runs.start(endless)
    runs.until_one_is_saved()
    engine.stop(name, "pause")
    assert "released" in runs.ended().message
    released = runs.said("/released")
    assert (released["reason"], released["step"]) == ("pause", runs.saved()[0]["step"])
    wait_until_nothing_is_left(engine, cluster)

    # One that finds no room waits in line again, and holds nothing meanwhile.
    runs.start(endless, workers=5)
    assert runs.ended().end is End.OVER
    failed = runs.said("/failed")
    assert (failed["cause"], "no room for 5 workers" in failed["message"]) == ("preempted", True)
    wait_until_nothing_is_left(engine, cluster)

    # The last one finishes, and publishes.
    steps = int(released["step"]) + 1
    runs.start(steps)
    assert "published" in runs.ended().message
    last = runs.saved()[0]
    assert last["step"] == steps == runs.said("/publish")["model"]["card"]["steps"]
    store.fetch_tree(last["key"], tmp_path / "found")
    assert whole(tmp_path / "found").keys() == undisturbed(tmp_path, run_order(""), steps).keys()
    for tensor_name, tensor in undisturbed(tmp_path, run_order(""), steps).items():
        assert torch.equal(tensor, whole(tmp_path / "found")[tensor_name]), tensor_name


def undisturbed(folder: Path, order: dict[str, Any], steps: int) -> dict[str, Tensor]:
    """Return what two workers make without Ray, in one go."""
    kept = folder / "undisturbed"
    if not kept.exists():
        kept.mkdir()
        same = {name: order[name] for name in ("recipe", "params", "data", "split")}
        few = {"checkpoint_every": 1_000_000, "sheet_every": 1_000_000, "evaluate_every": 1_000_000}
        with Gangs() as gangs:
            assert gangs.run(kept, 2, same | few | {"steps": steps}, seed=order["seed"]) == [0, 0]
    (state,) = kept.glob(f"{steps:06}-*")
    return whole(state)


def whole(folder: Path) -> dict[str, Tensor]:
    return {name: tensor for file in FILES for name, tensor in load_file(folder / file).items()}
