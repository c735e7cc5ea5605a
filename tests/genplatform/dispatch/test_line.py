"""The line as the dispatcher holds it: what it adds up to, and who is told what."""

from __future__ import annotations

from itertools import chain
from typing import Any

from full_decide import full_decide
from hypothesis import given
from hypothesis import strategies as st

from genplatform.catalog import SPAN, QueuedRow, SpanSum
from genplatform.dispatch.line import LOOKED_AT, HeldLine
from genplatform.domain.job import Capacity, Demand, Reason
from genplatform.scheduling import decide

RESOURCES = [{"workers": "1..3", "cpus_per_worker": c, "gpus_per_worker": 0.0} for c in (0.5, 1.0, 2.0, 7.0)]


def row(pk: int, cpus: float = 1.0, priority: int = 500, reason: Reason | None = None) -> QueuedRow:
    resources = {"workers": 1, "cpus_per_worker": cpus, "gpus_per_worker": 0.0}
    code, message = (reason.code, reason.message) if reason else (None, None)
    return QueuedRow(pk, "default", f"j_{pk:010d}", priority, code, message, resources)


def line_of(*rows: QueuedRow) -> HeldLine:
    line = HeldLine()
    line.add(rows)
    return line


def tell(line: HeldLine, capacity: Capacity, record: dict[int, Reason | None], most: int = 1000) -> int:
    """Let a round go by in which everybody gets what he is told into the record; return how many were told."""
    told = line.to_say(decide(line.line, capacity), most)
    for reason, orders in told.items():
        record.update(dict.fromkeys(orders, reason))
        line.said(orders)
    return sum(map(len, told.values()))


def cluster(cpus: float, free: float) -> Capacity:
    return Capacity(cpus, 0.0, free, 0.0)


def test_everybody_is_told_once_and_nobody_again_while_nothing_changes() -> None:
    line, record = line_of(row(1), row(2), row(3)), dict[int, Reason | None]()

    told = [tell(line, cluster(4, 0), record) for _ in range(3)]

    assert told == [3, 0, 0]
    assert [record[n].code for n in (1, 2, 3)] == ["no_capacity", "behind_others", "behind_others"]


def test_when_the_first_leaves_only_the_next_is_told_anew() -> None:
    line, record = line_of(row(1), row(2), row(3)), dict[int, Reason | None]()
    tell(line, cluster(4, 0), record)

    line.remove(1)
    told = line.to_say(decide(line.line, cluster(4, 0)), 1000)

    assert list(told.values()) == [[2]]


def test_one_who_is_passed_by_another_first_is_told_so() -> None:
    line, record = line_of(row(1), row(2)), dict[int, Reason | None]()
    tell(line, cluster(4, 0), record)

    line.add([row(3, priority=900)])
    tell(line, cluster(4, 0), record)

    assert [record[n].code for n in (1, 2, 3)] == ["behind_others", "behind_others", "no_capacity"]


def test_a_round_tells_no_more_than_it_may_and_the_head_of_the_line_first() -> None:
    line, record = line_of(*(row(n) for n in range(1, 101))), dict[int, Reason | None]()
    tell(line, cluster(4, 0), record, most=10)
    assert set(record) == set(range(1, 11))

    line.add([row(500, priority=900)])
    tell(line, cluster(4, 0), record, most=10)

    assert record[500].code == "no_capacity"
    assert record[1].code == "behind_others"
    assert len(record) == 19


def test_what_the_record_says_already_is_not_written_again() -> None:
    behind = Reason("behind_others", "It needs 1 CPU; other jobs are ahead of it.")
    line = line_of(*(row(n, reason=behind) for n in range(1, 100)), row(100))
    record: dict[int, Reason | None] = {}

    told = [tell(line, cluster(4, 0), record, most=5) for _ in range(1 + 100 // (5 * LOOKED_AT))]

    assert sum(told) == len(record) == 2
    assert {n: r.code for n, r in record.items()} == {1: "no_capacity", 100: "behind_others"}


def test_those_who_could_not_be_told_are_told_with_the_next_round() -> None:
    line = line_of(row(1), row(2))
    decision = decide(line.line, cluster(4, 0))
    first = line.to_say(decision, 10)
    line.said([1])

    again = line.to_say(decision, 10)

    assert sorted(chain(*first.values())) == [1, 2]
    assert sorted(chain(*again.values())) == [2]


def test_a_cluster_that_shrinks_or_grows_is_told_to_all_it_concerns() -> None:
    line, record = line_of(row(1, 3.0), row(2, 1.0), row(3, 3.0)), dict[int, Reason | None]()
    tell(line, cluster(4, 0), record)

    tell(line, cluster(2, 0), record)
    small = [record[n].code for n in (1, 2, 3)]
    tell(line, cluster(4, 0), record)

    assert small == ["needs_cpu", "no_capacity", "needs_cpu"]
    assert [record[n].code for n in (1, 2, 3)] == ["no_capacity", "behind_others", "behind_others"]


def test_resources_that_cannot_be_read_ask_for_the_least() -> None:
    line = line_of(QueuedRow(1, "default", "j_a", 500, None, None, {"gone": 1}), row(2))
    line.add([QueuedRow(3, "default", "j_c", 500, None, None, None)])

    assert {line.line[n].demand for n in (1, 3)} == {Demand()}


def test_spans_hold_exactly_what_was_read_of_them() -> None:
    line = line_of(row(1), row(SPAN), row(SPAN + 1), row(3 * SPAN))

    line.settle(1, 2, [row(SPAN + 1), row(SPAN + 5), row(2 * SPAN)])

    assert [n for n in range(4 * SPAN) if n in line.line] == [1, SPAN + 1, SPAN + 5, 2 * SPAN, 3 * SPAN]
    assert {span: total.count for span, total in line.sums().items()} == {0: 1, 1: 2, 2: 1, 3: 1}


@st.composite
def lives(draw: st.DrawFn) -> list[tuple[str, Any]]:
    act = st.one_of(
        st.tuples(st.just("add"), st.tuples(st.integers(0, 30), st.sampled_from(RESOURCES), st.sampled_from([1, 2]))),
        st.tuples(st.just("remove"), st.integers(0, 30)),
        st.tuples(st.just("tell"), st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(1, 4))),
    )
    return draw(st.lists(act, max_size=40))


@given(lives(), st.integers(0, 8), st.integers(0, 8))
def test_after_any_life_the_record_says_what_is_true_and_the_sums_are_right(
    life: list[tuple[str, Any]], cpus: int, free: int
) -> None:
    line, record = HeldLine(), dict[int, Reason | None]()
    for act, values in life:
        if act == "add":
            pk, resources, priority = values
            said = record.get(pk)
            code, message = (said.code, said.message) if said else (None, None)
            line.add([QueuedRow(pk, "default", f"j_{pk}", priority, code, message, resources)])
        elif act == "remove":
            line.remove(values)
        else:
            tell(line, cluster(values[0], values[1]), record, most=values[2])

    while tell(line, cluster(cpus, free), record, most=3):
        pass

    there = [line.line[n] for n in range(31) if n in line.line]
    expected = full_decide(there, cluster(cpus, free))
    assert {n: record[n] for n, said in expected.items() if isinstance(said, Reason)} == {
        n: said for n, said in expected.items() if isinstance(said, Reason)
    }
    sums = SpanSum()
    for one in there:
        sums = sums.plus(one.order, one.priority)
    assert line.sums() == ({0: sums} if there else {})
