"""Who starts, with how many workers, and why the others wait."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import pytest
from full_decide import full_decide
from hypothesis import given
from hypothesis import strategies as st

from genplatform.domain.job import Capacity, Demand, NodeSize, Reason, ReasonCode
from genplatform.domain.keys import JobKey
from genplatform.scheduling import Line, QueuedJob, decide
from genplatform.scheduling.line import File, Place


def job(number: int, demand: Demand | None = None, priority: int = 500) -> QueuedJob:
    key = JobKey("default", f"j_{number:010d}")
    return QueuedJob(key, number, priority, demand or Demand())


def cluster(cpus: float, gpus: float = 0.0, free_cpus: float | None = None, free_gpus: float | None = None) -> Capacity:
    return Capacity(cpus, gpus, cpus if free_cpus is None else free_cpus, gpus if free_gpus is None else free_gpus)


def line_of(jobs: Iterable[QueuedJob]) -> Line:
    line = Line()
    for one in jobs:
        line.add(one)
    return line


def decided(jobs: Sequence[QueuedJob], capacity: Capacity) -> dict[int, int | Reason]:
    """Return for each job, by its order, with how many workers it starts or why it waits; those that start first."""
    decision = decide(line_of(jobs), capacity)
    said: dict[int, int | Reason] = {start.job.order: start.workers for start in decision.starts}
    for one in jobs:
        said.setdefault(one.order, decision.reasons[one.demand])
    if decision.first is not None and decision.first_reason is not None:
        said[decision.first.order] = decision.first_reason
    return said


def started(jobs: Sequence[QueuedJob], capacity: Capacity) -> dict[int, int]:
    """Return the workers of each job that starts, by the job's number."""
    return {start.job.order: start.workers for start in decide(line_of(jobs), capacity).starts}


def reasons(jobs: Sequence[QueuedJob], capacity: Capacity) -> dict[int, tuple[str, str]]:
    """Return the reason of each job that is held, by the job's number."""
    return {n: (s.code, s.message) for n, s in decided(jobs, capacity).items() if isinstance(s, Reason)}


def test_an_empty_line_needs_no_decision() -> None:
    decision = decide(Line(), cluster(4))

    assert (decision.starts, decision.reasons, decision.first) == ([], {}, None)


def test_higher_priority_goes_first_then_the_earlier_submission() -> None:
    line = [job(1), job(2, priority=900), job(3), job(4, priority=900)]

    assert list(started(line, cluster(3)).items()) == [(2, 1), (4, 1), (1, 1)]
    assert [start.key for start in decide(line_of(line), cluster(4)).starts] == [line[i].key for i in (1, 3, 0, 2)]


def test_submission_counts_and_not_the_id() -> None:
    late, early = job(1), replace(job(2), order=0)

    assert started([late, early], cluster(1)) == {0: 1}


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


def test_nobody_is_given_more_workers_than_the_nodes_hold() -> None:
    pieces = Capacity(6, 0, 6, 0, nodes=(NodeSize("a", 3, 0), NodeSize("b", 3, 0)))

    assert started([job(1, Demand(min_workers=1, max_workers=4, cpus=2))], pieces) == {1: 2}


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
def lines(draw: st.DrawFn) -> tuple[list[QueuedJob], Capacity]:
    """A line in any order of arrival, and a cluster."""
    cpus, gpus = draw(st.integers(0, 16)), draw(st.integers(0, 4))
    capacity = cluster(cpus, gpus, draw(st.integers(0, cpus)), draw(st.integers(0, gpus)))
    kinds = draw(st.lists(demands, min_size=1, max_size=4))
    drawn = draw(st.lists(st.tuples(st.sampled_from(kinds), st.sampled_from([0, 500, 1000])), max_size=16))
    jobs = [job(n, demand, priority) for n, (demand, priority) in enumerate(drawn)]
    return draw(st.permutations(jobs)), capacity


@given(lines())
def test_it_says_what_going_down_the_whole_line_says(drawn: tuple[list[QueuedJob], Capacity]) -> None:
    jobs, capacity = drawn

    expected = full_decide(jobs, capacity)

    assert decided(jobs, capacity) == expected
    assert list(started(jobs, capacity)) == [n for n, said in expected.items() if isinstance(said, int)]


@given(lines(), st.data())
def test_who_leaves_and_comes_back_stands_where_his_priority_says(
    drawn: tuple[list[QueuedJob], Capacity], data: st.DataObject
) -> None:
    jobs, capacity = drawn
    line = line_of(jobs)
    made = {one.order: one for one in jobs}
    there = dict(made)
    for number in data.draw(st.lists(st.integers(0, 15), max_size=20)):
        if number in there:
            line.remove(number)
            del there[number]
        elif number in made:
            there[number] = replace(made[number], priority=data.draw(st.sampled_from([0, 500, 1000])))
            line.add(there[number])

    places = sorted(place for file in line.files() for place in file)

    assert places == sorted(one.place for one in there.values())
    assert decide(line, capacity) == decide(line_of(there.values()), capacity)
    assert len(line) == len(there)


class _Counted(File):
    """A file that counts how often somebody goes one further down it."""

    steps = 0

    def __iter__(self) -> Iterator[Place]:
        for place in super().__iter__():
            _Counted.steps += 1
            yield place


def test_a_line_of_any_length_is_looked_at_no_deeper_than_what_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genplatform.scheduling.line.File", _Counted)
    kinds = [Demand(cpus=1), Demand(cpus=2), Demand(cpus=64), Demand(1, 3, cpus=0.5)]

    def looked_at(length: int) -> tuple[int, int]:
        line = line_of(job(n, kinds[n % 4], priority=[500, 700, 900][n % 3]) for n in range(length))
        for n in range(0, 60, 2):  # whoever left from anywhere leaves no work behind
            line.remove(n)
        _Counted.steps = 0
        starts = decide(line, cluster(16)).starts
        assert decide(line, cluster(16, free_cpus=0)).starts == []
        return len(starts), _Counted.steps

    assert looked_at(1_000) == looked_at(20_000) == (13, 37)


@given(lines())
def test_never_more_is_given_than_is_free_and_each_gets_between_its_least_and_its_most(
    drawn: tuple[list[QueuedJob], Capacity],
) -> None:
    jobs, capacity = drawn
    starts = decide(line_of(jobs), capacity).starts

    assert sum(s.workers * s.job.demand.cpus for s in starts) <= capacity.free_cpus + 1e-6
    assert sum(s.workers * s.job.demand.gpus for s in starts) <= capacity.free_gpus + 1e-6
    assert all(s.job.demand.min_workers <= s.workers <= s.job.demand.max_workers for s in starts)


@given(lines())
def test_nothing_that_fits_is_left_out(drawn: tuple[list[QueuedJob], Capacity]) -> None:
    jobs, capacity = drawn
    starts = decide(line_of(jobs), capacity).starts
    free_cpus = capacity.free_cpus - sum(s.workers * s.job.demand.cpus for s in starts)
    free_gpus = capacity.free_gpus - sum(s.workers * s.job.demand.gpus for s in starts)

    for held in {j.demand for j in jobs if j.order not in {s.job.order for s in starts}}:
        over = held.min_workers * held.cpus > free_cpus - 1e-6 or held.min_workers * held.gpus > free_gpus - 1e-6
        assert over


@given(demands, st.integers(0, 16), st.integers(0, 4))
def test_alone_on_an_idle_cluster_a_job_starts_or_can_never(demand: Demand, cpus: int, gpus: int) -> None:
    line = [job(1, demand)]
    fits = demand.min_workers * demand.cpus <= cpus + 1e-9 and demand.min_workers * demand.gpus <= gpus + 1e-9

    assert (1 in started(line, cluster(cpus, gpus))) == fits
    if not fits:
        assert reasons(line, cluster(cpus, gpus))[1][0] in {ReasonCode.NEEDS_GPU, ReasonCode.NEEDS_CPU}


@given(lines(), demands)
def test_among_equal_demands_nobody_is_passed(drawn: tuple[list[QueuedJob], Capacity], demand: Demand) -> None:
    jobs, capacity = drawn
    equal = [job(j.order, demand, j.priority) for j in jobs]

    starts = started(equal, capacity)

    in_line = sorted(equal, key=lambda j: j.place)
    assert list(starts) == [j.order for j in in_line[: len(starts)]]
