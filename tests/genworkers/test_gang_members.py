"""What a gang says of how it ended: each of its workers of itself, and who drives it of those that cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from notebook import Notebook
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.train import FailureConfig
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError
from ray.train.v2._internal.execution.failure_handling import FailureDecision
from ray.train.v2._internal.execution.failure_handling.default import DefaultFailurePolicy
from ray.train.v2.api.exceptions import WorkerGroupError

from genplatform.domain.log_lines import LineNumber
from genplatform.domain.retry import Cause
from genplatform.errors import BadRequest
from genplatform.store import Store
from genworkers.failures import Failure
from genworkers.training.job import TrainJob
from genworkers.training.loop import train
from genworkers.training.member import Member
from genworkers.training.ray_gang import NO_SECOND_TRY, GangFailed, blamed

Platform = Any  # conftest.FakePlatform, which an importlib-mode test cannot import
Order = Callable[..., dict[str, Any]]


def failed(cause: Cause, rank: int) -> GangFailed:
    return GangFailed(Failure(cause, f"said by {rank}", "", ""), rank, said=True)


def test_what_a_worker_says_of_itself_goes_before_what_its_end_did_to_the_others() -> None:
    died = WorkerHealthCheckFailedError("rank 1", RayActorError())
    lost = failed(Cause.NODE_LOST, 0)

    assert blamed({0: lost, 1: failed(Cause.USER_ERROR, 1)}).failure.message == "said by 1"
    assert blamed({0: lost, 1: failed(Cause.OUT_OF_MEMORY, 1)}).failure.cause is Cause.OUT_OF_MEMORY
    assert blamed({0: lost, 1: died}).failure.message == "Worker 1 of the gang died."
    assert blamed({0: lost, 1: died}).failure.cause is Cause.NODE_LOST
    assert (blamed({0: lost, 1: died}).said, blamed({0: lost}).said) == (False, True)
    assert blamed({0: lost}).failure.message == "said by 0"


def test_a_worker_whose_node_was_taken_away_ends_the_gang_for_this_run() -> None:
    taken = RayActorError()
    taken._preempted = True
    died = WorkerGroupError("it ended", {1: WorkerHealthCheckFailedError("rank 1", taken)})

    decided = DefaultFailurePolicy(FailureConfig(**NO_SECOND_TRY)).make_decision(died)

    assert decided is FailureDecision.RAISE
    assert blamed(died.worker_failures).failure.cause is Cause.PREEMPTED


def test_a_worker_that_its_node_ended_for_memory_is_told_as_that() -> None:
    ended = WorkerHealthCheckFailedError("rank 1", OutOfMemoryError("too much"))

    found = blamed({0: failed(Cause.NODE_LOST, 0), 1: ended}).failure

    assert (found.cause, found.message) == (
        Cause.OUT_OF_MEMORY,
        "Worker 1 of the gang was ended because its node ran out of memory.",
    )
    assert "batch_size" in found.hint


class Driver:
    """Who drives a gang, as one of it sees them: gone."""

    @property
    def ping(self) -> Any:
        raise RayActorError


@pytest.mark.parametrize("rank", [0, 1])
def test_a_worker_says_where_it_is_and_why_it_failed_under_its_own_rank(
    platform: Platform, store: Store, run_order: Order, rank: int
) -> None:
    member = Member(run_order(platform.url, recipe="no-such-recipe"), rank, 2)

    with pytest.raises(GangFailed, match="no-such-recipe") as caught:
        member.work(Driver())

    assert (caught.value.rank, caught.value.said, caught.value.failure.cause) == (rank, True, Cause.USER_ERROR)
    lines = [line for body in platform.bodies("/progress") for line in body["logs"]]
    assert {LineNumber.of(line["seq"]).rank for line in lines} == {rank}
    assert lines[0]["text"].startswith(f"Worker {rank} of 2 is on ")
    assert lines[-1]["text"].startswith("Failed: ")
    # The Run's log in the store is one object, the first worker's; its end is the driver's to tell.
    assert [body["kind"] for body in platform.bodies("/artifacts")] == ["log"][rank:]
    assert not {"/started", "/failed", "/heartbeat"} & set(platform.paths())


@pytest.mark.parametrize(
    ("recipe", "params", "message"),
    [
        ("vqvae", {}, "The recipe vqvae shares no batch among 3 workers: its codebook follows all rows"),
        ("gan", {"batch_size": 2}, "A batch of 2 has no row for each of 3 workers"),
    ],
)
def test_a_batch_that_cannot_be_shared_is_refused_before_the_workers_meet(
    tmp_path: Path, recipe: str, params: dict[str, Any], message: str
) -> None:
    job = TrainJob(recipe, params, {"source": "digits"}, None, 5, checkpoint_every=5, sheet_every=5, evaluate_every=5)

    with pytest.raises(BadRequest, match=message):
        train(job, Notebook(tmp_path), clock=lambda: 0.0, rank=1, world_size=3)
