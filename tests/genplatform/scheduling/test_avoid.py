"""Which nodes are avoided: those where the work of several jobs keeps failing, for a while, and never most of them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genplatform.scheduling.avoid import (
    FEWEST_FAILURES,
    FEWEST_JOBS,
    FIRST_SECONDS,
    LONGEST_SECONDS,
    MEMORY_SECONDS,
    TOGETHER_SECONDS,
    WINDOW_SECONDS,
    Avoided,
    NodeEnd,
    NodeRecords,
    avoided,
)

NODES = ("n1", "n2", "n3", "n4")
APART = TOGETHER_SECONDS + 5


def lost(at: float, job: str, node: str = "n1") -> NodeEnd:
    return NodeEnd(at, node, job, lost=True)


def done(at: float, job: str = "ok", node: str = "n1") -> NodeEnd:
    return NodeEnd(at, node, job, lost=False)


def after(*ends: NodeEnd) -> NodeRecords:
    records = NodeRecords()
    records.note(ends)
    return records


def failing(start: float, node: str = "n1") -> list[NodeEnd]:
    """Return just enough to have a node avoided; it is from the last of them on."""
    return [lost(start + APART * n, f"j{n % 2}", node) for n in range(FEWEST_FAILURES)]


def last(start: float) -> float:
    return start + APART * (FEWEST_FAILURES - 1)


def test_a_node_where_several_jobs_fail_again_and_again_is_avoided_for_ten_minutes() -> None:
    records = after(*failing(0.0))

    assert records.suspects(last(0.0)) == [Avoided("n1", last(0.0) + FIRST_SECONDS, FEWEST_FAILURES, FEWEST_JOBS)]
    assert records.suspects(last(0.0) + FIRST_SECONDS - 1) != []
    assert records.suspects(last(0.0) + FIRST_SECONDS) == []


@pytest.mark.parametrize(
    "ends",
    [
        failing(0.0)[1:],
        [lost(APART * n, "j0") for n in range(50)],
        [lost(n, f"j{n}") for n in range(10)],
        [lost(WINDOW_SECONDS * n, f"j{n}") for n in range(10)],
        [*failing(0.0), *[done(1.0 + n) for n in range(FEWEST_FAILURES + 1)]],
    ],
    ids=["too few", "one job alone", "all at once", "too long ago", "more that went well"],
)
def test_what_is_no_reason_to_avoid_a_node(ends: list[NodeEnd]) -> None:
    assert after(*ends).suspects(max(end.at for end in ends)) == []


def test_a_node_that_goes_on_failing_is_avoided_for_longer_and_longer_up_to_an_hour() -> None:
    records, start = NodeRecords(), 0.0
    lengths = []
    for _ in range(6):
        records.note(failing(start))
        (suspect,) = records.suspects(last(start))
        lengths.append(suspect.until - last(start))
        start = suspect.until

    assert lengths == [600.0, 1200.0, 2400.0, LONGEST_SECONDS, LONGEST_SECONDS, LONGEST_SECONDS]


def test_a_node_that_did_well_for_long_begins_anew() -> None:
    records = after(*failing(0.0))
    start = last(0.0) + FIRST_SECONDS + MEMORY_SECONDS
    records.note(failing(start))

    assert records.suspects(last(start))[0].until == last(start) + FIRST_SECONDS


def test_what_still_ran_on_an_avoided_node_does_not_lengthen_it() -> None:
    records = after(*failing(0.0))
    records.note([lost(last(0.0) + APART * n, f"j{n}") for n in range(1, 20)])

    assert records.suspects(last(0.0) + 1)[0].until == last(0.0) + FIRST_SECONDS


def test_a_clock_that_was_put_back_keeps_no_node_avoided_for_longer_than_the_longest_time() -> None:
    records = after(*failing(100_000.0))

    assert records.suspects(90_000.0) == []


def test_nodes_are_judged_apart() -> None:
    records = after(*failing(0.0, "n2"), *[lost(APART * n, "j", "n1") for n in range(9)])

    assert [one.node for one in records.suspects(last(0.0))] == ["n2"]


@pytest.mark.parametrize(
    ("suspects", "found"),
    [((), ()), (("n1",), ("n1",)), (("n1", "n3"), ("n1", "n3")), (("n1", "n2", "n3"), ()), (("gone",), ())],
)
def test_at_most_half_of_the_nodes_are_avoided_or_none(suspects: tuple[str, ...], found: tuple[str, ...]) -> None:
    told = [Avoided(node, 600.0, 3, 2) for node in suspects]

    assert tuple(one.node for one in avoided(told, NODES)) == found


def test_the_only_node_is_never_avoided() -> None:
    assert avoided([Avoided("n1", 600.0, 3, 2)], ["n1"]) == []


def test_what_decides_nothing_any_more_is_forgotten() -> None:
    records = after(*failing(0.0), done(0.0, node="n2"))

    records.forget(last(0.0) + FIRST_SECONDS + MEMORY_SECONDS + 1)

    assert records._records == {}


ends = st.lists(
    st.builds(NodeEnd, st.floats(0, 20_000), st.sampled_from(NODES), st.sampled_from(["a", "b", "c"]), st.booleans()),
    max_size=60,
)


@given(ends, st.lists(st.sampled_from(NODES), unique=True))
def test_never_most_of_the_nodes_are_avoided(ends: list[NodeEnd], nodes: list[str]) -> None:
    found = avoided(after(*ends).suspects(max((end.at for end in ends), default=0.0)), nodes)

    assert 2 * len(found) <= len(nodes)
    assert {one.node for one in found} <= set(nodes)


@given(ends, st.integers(0, 60))
def test_ends_told_in_two_parts_come_to_the_same_as_in_one(ends: list[NodeEnd], cut: int) -> None:
    ordered = sorted(ends)
    once, twice = after(*ordered), after(*ordered[:cut])
    twice.note(ordered[cut:])

    assert once.suspects(0.0) == twice.suspects(0.0)


@given(ends)
def test_no_node_is_avoided_for_longer_than_an_hour(ends: list[NodeEnd]) -> None:
    moments = sorted({end.at for end in ends})
    for before, now in pairwise([0.0, *moments]):
        for one in after(*[end for end in ends if end.at <= now]).suspects(now):
            assert before <= now < one.until <= now + LONGEST_SECONDS
