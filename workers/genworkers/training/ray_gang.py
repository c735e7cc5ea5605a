"""A gang on Ray: the workers of one run, placed together, watched, and ended together, by Ray Train's TorchTrainer.

The Run's actor drives it and holds the Run's word to the platform (its start, its heartbeat, its end); it takes no
room itself. The first worker leads: it reports, saves and makes the model. All workers hear of a wish to stop from
the leader, which asks the driver.

    platform <- driver (the Run's actor) -> Ray Train's controller -> workers 0..n-1
        ^______ progress, checkpoints ________________________________ 0 (leads)

Nothing survives its maker: controller and workers end with the driver, and what Ray leaves of a killed one, the
placement group, the engine's sweep gives back. So Ray Train's own cleaner, a process a run that lingers without a
dashboard, is left out. Ray Train restarts nothing either: a gang of which one is lost ends, whole, and the platform's
retry opens the next Run, which goes on from the last checkpoint.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.torch.config import _TorchBackend
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.exceptions import (
    WorkerGroupStartupTimeoutError,
    WorkerHealthCheckFailedError,
    WorkerHealthCheckTimeoutError,
)
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

from genplatform.domain.names import node_name
from genplatform.domain.retry import Cause
from genworkers.failures import MORE_MEMORY, Failure, explain

# A worker that does not answer for so long is taken for hung, and its gang with it.
SILENT_SECONDS = 30
# There was room for the gang a moment ago; where it is gone, the Run is over and the job waits in the line again.
START_SECONDS = 60
# A worker waits so long for another, which may have all of the validation part to look at or a large checkpoint to
# write. Those that died or stopped answering are found long before.
APART_SECONDS = 1800
SILENT = "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S"
START = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"
# An operator may set these otherwise where Ray starts.
SETTINGS = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    SILENT: str(SILENT_SECONDS),
    START: str(START_SECONDS),
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


# A gang is tried again as another Run, from the newest checkpoint; Ray would begin where this Run did.
NO_SECOND_TRY = {"max_failures": 0, "max_preemption_failures": 0, "controller_failure_limit": 0}


class GangFailed(Exception):
    """A failure ended the gang: that of the worker of a `rank`, or, where it is None, of nobody.

    `said` tells whether the worker has told the platform of it in the Run's log.
    """

    def __init__(self, failure: Failure, rank: int | None = None, said: bool = False) -> None:
        super().__init__(failure, rank, said)
        self.failure, self.rank, self.said = failure, rank, said


@dataclass(frozen=True)
class Asked:
    """What a gang is to have: so many workers of one size, on none of the nodes to avoid."""

    workers: int
    cpus: float
    gpus: float = 0.0
    avoid: Sequence[str] = ()


def run_gang(asked: Asked, work: Any, config: Mapping[str, Any], name: str, scratch: Path) -> Any:
    """Run `work(config)` on every worker and return what the first one returned. Raises GangFailed."""
    for setting, value in SETTINGS.items():
        os.environ.setdefault(setting, value)
    trainer = _Trainer(
        work,
        train_loop_config=dict(config),
        torch_config=_Config(timeout_s=APART_SECONDS),
        scaling_config=ScalingConfig(
            num_workers=asked.workers,
            resources_per_worker={"CPU": asked.cpus, **({"GPU": asked.gpus} if asked.gpus else {})},
            use_gpu=bool(asked.gpus),
            label_selector=_anywhere_but(asked.avoid),
        ),
        run_config=RunConfig(
            name=name,
            storage_path=str(scratch),
            failure_config=FailureConfig(**NO_SECOND_TRY),
        ),
    )
    try:
        return trainer.fit().return_value
    except WorkerGroupError as error:
        raise blamed(error.worker_failures) from error
    except ControllerError as error:
        raise GangFailed(_not_started(asked.workers, error.controller_failure)) from error
    except RayActorError as error:
        raise GangFailed(_expected(Cause.NODE_LOST, "The controller of the gang died.")) from error


class _Trainer(TorchTrainer):  # type: ignore[misc]
    def _create_default_callbacks(self) -> list[Any]:
        every = super()._create_default_callbacks()
        return [one for one in every if not isinstance(one, PlacementGroupCleanerCallback)]


class _Config(TorchConfig):  # type: ignore[misc]
    @property
    def backend_cls(self) -> type[Any]:
        return _Backend


class _Backend(_TorchBackend):  # type: ignore[misc]
    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        worker_group.execute(_meet_where_ray_does)
        super().on_start(worker_group, backend_config)

    def on_shutdown(self, worker_group: Any, backend_config: Any) -> None:
        """Do nothing: the workers' processes end next, and one that hangs would be waited for."""


def _meet_where_ray_does() -> None:
    """Have the workers' own connections on the interface of Ray's: on loopback, where the platform keeps to that."""
    here = ray.util.get_node_ip_address()
    for interface, addresses in psutil.net_if_addrs().items():
        if any(one.address == here for one in addresses):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)


def blamed(failures: Mapping[int, Exception]) -> GangFailed:
    """Return the failure that ended the gang: one that says what is wrong before those that a lost worker left."""
    told = [error for _, error in sorted(failures.items()) if isinstance(error, GangFailed)]
    for said in told:
        if said.failure.cause is not Cause.NODE_LOST:
            return said
    for rank, error in sorted(failures.items()):
        if not isinstance(error, GangFailed):
            return GangFailed(_lost(rank, error), rank)
    return told[0]


def _lost(rank: int, error: Exception) -> Failure:
    """Say what became of a worker that could not say it itself."""
    who = f"Worker {rank} of the gang"
    if isinstance(error, WorkerHealthCheckTimeoutError):
        return _expected(Cause.NODE_LOST, f"{who} did not answer for {os.environ[SILENT]} s.")
    if not isinstance(error, WorkerHealthCheckFailedError):
        return _expected(Cause.USER_ERROR, f"{who} failed: {explain(error, 'the log').message}")
    died = error.health_check_failure
    if isinstance(died, OutOfMemoryError):
        return _expected(Cause.OUT_OF_MEMORY, f"{who} was ended because its node ran out of memory.", MORE_MEMORY)
    preempted = isinstance(died, RayActorError) and died.preempted
    return _expected(Cause.PREEMPTED if preempted else Cause.NODE_LOST, f"{who} died.")


def _not_started(workers: int, error: BaseException) -> Failure:
    if isinstance(error, WorkerGroupStartupTimeoutError):
        # No fault of the job's: the room that was free is in pieces, or somebody else's by now.
        seconds = os.environ[START]
        told = f"There was no room for {workers} workers at once within {seconds} s; it waits in line again."
        return _expected(Cause.PREEMPTED, told)
    told = f"The gang of {workers} workers could not be started: {_first_line(error)}"
    return _expected(Cause.START_FAILED, told)


def _expected(cause: Cause, message: str, hint: str = "") -> Failure:
    return Failure(cause, message, hint, "", expected=True)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _anywhere_but(avoid: Sequence[str]) -> dict[str, str] | None:
    """Return the label selector that keeps workers off the nodes of these names."""
    ids = [
        node["NodeID"]
        for node in ray.nodes()
        if node["Alive"]
        and node_name(node["NodeName"], node["NodeManagerAddress"], node["NodeManagerHostname"]) in avoid
    ]
    return {"ray.io/node-id": f"!in({','.join(ids)})"} if ids else None
