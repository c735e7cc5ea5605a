"""Who starts, with how many workers, and why the others wait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from genplatform.domain.job import Capacity, Demand, ReasonCode
from genplatform.domain.keys import JobKey
from genplatform.scheduling import Hold, QueuedJob, Snapshot, Start, decide

NOW = 1_000_000.0


def job(number: int, demand: Demand | None = None, priority: int = 500) -> QueuedJob:
    key = JobKey("default", f"j_{number:010d}")
    return QueuedJob(key, number, priority, demand or Demand())


def cluster(cpus: float, gpus: float = 0.0, free_cpus: float | None = None, free_gpus: float | None = None) -> Capacity:
    return Capacity(cpus, gpus, cpus if free_cpus is None else free_cpus, gpus if free_gpus is None else free_gpus)


def started(jobs: Sequence[QueuedJob], capacity: Capacity) -> dict[int, int]:
    """Return the workers of each job that starts, by the job's number."""
    return {
        int(d.key.job_id.removeprefix("j_")): d.workers
        for d in decide(Snapshot(tuple(jobs), capacity))
        if isinstance(d, Start)
    }


def reasons(jobs: Sequence[QueuedJob], capacity: Capacity) -> dict[int, tuple[str, str]]:
    """Return the reason of each job that is held, by the job's number."""
    return {
        int(d.key.job_id.removeprefix("j_")): (d.reason.code, d.reason.message)
        for d in decide(Snapshot(tuple(jobs), capacity))
        if isinstance(d, Hold)
    }


def test_an_empty_line_needs_no_decision() -> None:
    assert decide(Snapshot((), cluster(4))) == []


def test_higher_priority_goes_first_then_the_earlier_submission() -> None:
    line = [job(1), job(2, priority=900), job(3), job(4, priority=900)]

    assert started(line, cluster(3)) == {2: 1, 4: 1, 1: 1}
    assert [d.key for d in decide(Snapshot(tuple(line), cluster(3)))] == [line[i].key for i in (1, 3, 0, 2)]


def test_submission_counts_and_not_the_id() -> None:
    late, early = job(1), replace(job(2), order=0)

    assert started([late, early], cluster(1)) == {2: 1}


def test_those_whom_the_first_ones_leave_nothing_are_behind_others() -> None:
    assert reasons([job(1), job(2), job(3)], cluster(1)) == {
        2: (ReasonCode.BEHIND_OTHERS, "It needs 1 CPU; other jobs are ahead of it."),
        3: (ReasonCode.BEHIND_OTHERS, "It needs 1 CPU; other jobs are ahead of it."),
    }


def test_the_first_that_waits_for_running_work_has_no_capacity_and_the_next_is_behind_it() -> None:
    held = reasons([job(1, Demand(cpus=2)), job(2, Demand(cpus=2))], cluster(4, free_cpus=1))

    assert held[1] == (ReasonCode.NO_CAPACITY, "It needs 2 CPUs and is next: it waits for running work to end.")
    assert held[2][0] == ReasonCode.BEHIND_OTHERS


def test_a_job_the_cluster_cannot_hold_says_what_it_needs_and_blocks_nobody() -> None:
    line = [
        job(1, Demand(min_workers=2, max_workers=2, cpus=1, gpus=1), priority=1000),
        job(2, Demand(cpus=8), priority=1000),
        job(3),
        job(4, Demand(cpus=4)),
    ]

    held = reasons(line, cluster(4, gpus=1))

    assert started(line, cluster(4, gpus=1)) == {3: 1}
    assert held[1] == (
        ReasonCode.NEEDS_GPU,
        "It needs 2 GPUs (2 workers with 1 GPU each); the cluster has 1 GPU.",
    )
    assert held[2] == (ReasonCode.NEEDS_CPU, "It needs 8 CPUs; the cluster has 4 CPUs.")
    # Those two are not in the line that the last one waits in; one that starts before it is.
    assert held[4][0] == ReasonCode.BEHIND_OTHERS


def test_a_job_that_does_not_fit_now_is_passed_by_smaller_ones() -> None:
    line = [job(1, Demand(cpus=4)), job(2, Demand(cpus=1))]

    assert started(line, cluster(4, free_cpus=2)) == {2: 1}
    assert reasons(line, cluster(4, free_cpus=2)) == {
        1: (
            ReasonCode.NO_CAPACITY,
            "It needs 4 CPUs and is next: it waits for running work to end.",
        )
    }


def test_extra_workers_are_given_in_turn_and_only_from_what_no_ones_least_needs() -> None:
    elastic = Demand(min_workers=1, max_workers=4, cpus=1)

    assert started([job(1, elastic)], cluster(8)) == {1: 4}
    assert started([job(1, elastic), job(2, elastic)], cluster(5)) == {1: 3, 2: 2}
    assert started([job(1, elastic), job(2), job(3)], cluster(4)) == {1: 2, 2: 1, 3: 1}
    assert started([job(1, elastic), job(2), job(3)], cluster(3)) == {1: 1, 2: 1, 3: 1}


def test_fractions_add_up_exactly() -> None:
    tenth = Demand(cpus=0.1)

    assert len(started([job(n, tenth) for n in range(40)], cluster(3))) == 30


def test_what_a_cluster_claims_free_beyond_what_it_has_is_not_given_out() -> None:
    assert started([job(n) for n in range(4)], cluster(2, free_cpus=4)) == {0: 1, 1: 1}
    assert started([job(1)], cluster(2, free_cpus=-1)) == {}


demands = st.builds(
    lambda least, more, cpus, gpus: Demand(least, least + more, cpus, gpus),
    st.integers(1, 4),
    st.integers(0, 4),
    st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 7.0]),
    st.sampled_from([0.0, 0.0, 0.5, 1.0, 2.0]),
)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    cpus, gpus = draw(st.integers(0, 16)), draw(st.integers(0, 4))
    capacity = cluster(cpus, gpus, draw(st.integers(0, cpus)), draw(st.integers(0, gpus)))
    drawn = draw(st.lists(st.tuples(demands, st.sampled_from([0, 500, 1000])), max_size=12))
    jobs = [job(n, demand, priority) for n, (demand, priority) in enumerate(drawn)]
    return Snapshot(tuple(draw(st.permutations(jobs))), capacity)


@given(snapshots())
def test_every_job_is_decided_exactly_once_and_the_order_of_arrival_in_memory_is_nothing(snapshot: Snapshot) -> None:
    decisions = decide(snapshot)

    assert sorted(d.key for d in decisions) == sorted(j.key for j in snapshot.jobs)
    assert decide(Snapshot(snapshot.jobs[::-1], snapshot.capacity)) == decisions


@given(snapshots())
def test_never_more_is_given_than_is_free_and_each_gets_between_its_least_and_its_most(snapshot: Snapshot) -> None:
    by_key = {j.key: j.demand for j in snapshot.jobs}
    starts = [d for d in decide(snapshot) if isinstance(d, Start)]

    assert sum(d.workers * by_key[d.key].cpus for d in starts) <= snapshot.capacity.free_cpus + 1e-6
    assert sum(d.workers * by_key[d.key].gpus for d in starts) <= snapshot.capacity.free_gpus + 1e-6
    assert all(by_key[d.key].min_workers <= d.workers <= by_key[d.key].max_workers for d in starts)


@given(snapshots())
def test_nothing_that_fits_is_left_out(snapshot: Snapshot) -> None:
    by_key = {j.key: j.demand for j in snapshot.jobs}
    starts = [d for d in decide(snapshot) if isinstance(d, Start)]
    free_cpus = snapshot.capacity.free_cpus - sum(d.workers * by_key[d.key].cpus for d in starts)
    free_gpus = snapshot.capacity.free_gpus - sum(d.workers * by_key[d.key].gpus for d in starts)

    for held in (by_key[d.key] for d in decide(snapshot) if isinstance(d, Hold)):
        over = held.min_workers * held.cpus > free_cpus - 1e-6 or held.min_workers * held.gpus > free_gpus - 1e-6
        assert over


@given(demands, st.integers(0, 16), st.integers(0, 4))
def test_alone_on_an_idle_cluster_a_job_starts_or_can_never(demand: Demand, cpus: int, gpus: int) -> None:
    line = [job(1, demand)]
    fits = demand.min_workers * demand.cpus <= cpus + 1e-9 and demand.min_workers * demand.gpus <= gpus + 1e-9

    assert (1 in started(line, cluster(cpus, gpus))) == fits
    if not fits:
        assert reasons(line, cluster(cpus, gpus))[1][0] in {ReasonCode.NEEDS_GPU, ReasonCode.NEEDS_CPU}


@given(snapshots(), demands)
def test_among_equal_demands_nobody_is_passed(snapshot: Snapshot, demand: Demand) -> None:
    jobs = tuple(job(j.order, demand, j.priority) for j in snapshot.jobs)

    kinds = [isinstance(d, Start) for d in decide(Snapshot(jobs, snapshot.capacity))]

    assert kinds == sorted(kinds, reverse=True)


@given(snapshots())
def test_only_the_first_that_waits_is_next(snapshot: Snapshot) -> None:
    held = [d.reason.code for d in decide(snapshot) if isinstance(d, Hold)]
    waiting = [code for code in held if code in {ReasonCode.NO_CAPACITY, ReasonCode.BEHIND_OTHERS}]

    assert all(code == ReasonCode.BEHIND_OTHERS for code in waiting[1:])
