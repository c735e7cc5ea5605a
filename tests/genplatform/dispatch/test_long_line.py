"""A long line: found whole whatever was lost, and no dearer to lead than a short one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from dispatched import Dispatched
from effort import statements, steps
from history import NOW, Past, fill
from small_platform import TENANT, generate, train, until

from genplatform.catalog import SPAN, SpanSum
from genplatform.dispatch import survey as surveying
from genplatform.dispatch.line import HeldLine
from genplatform.dispatch.survey import Survey
from genplatform.domain.states import JobState
from genplatform.services import cancel, pause, reconcile, update

LONG = 3 * SPAN + 100


@pytest.fixture
def long(sqlite_url: str, tmp_path: Path) -> Iterator[Dispatched]:
    """A platform with a long line of jobs of four sizes, and room for one of the smallest."""
    yield from _with(sqlite_url, tmp_path, LONG)


@pytest.fixture
def short(migrated_sqlite: Path, tmp_path: Path) -> Iterator[Dispatched]:
    """The same with a short line."""
    path = tmp_path / "short" / "catalog.db"
    path.parent.mkdir()
    path.write_bytes(migrated_sqlite.read_bytes())
    yield from _with(f"sqlite:///{path}", path.parent, 100)


def _with(url: str, folder: Path, queued: int) -> Iterator[Dispatched]:
    fill(url, Past(ended=0, queued=queued))
    made = Dispatched(url, folder)
    made.clock.now = NOW + 60
    made.engine.cpus = 1.0
    yield made
    made.close()


def settled(d: Dispatched) -> None:
    """Let everybody in the line be told why he waits."""
    d.tick(2)
    until(lambda: not reasonless(d), d.tick)


def reasonless(d: Dispatched) -> list[str]:
    spans = reconcile.spans(d.w)
    rows = reconcile.queued_within(d.w, min(spans), max(spans))
    return [row.job_id for row in rows if row.reason is None]


def test_one_who_takes_over_has_the_whole_line_before_he_starts_anybody(long: Dispatched) -> None:
    last = long.one(train("last", "priority: 1000\n"))
    long.queues.wipe()

    long.tick()

    assert long.state(last) == "starting"
    assert len(long.line()) == LONG


def test_everybody_is_told_why_he_waits(long: Dispatched) -> None:
    settled(long)

    spans = reconcile.spans(long.w)
    rows = reconcile.queued_within(long.w, min(spans), max(spans))
    assert Counter(row.reason_code for row in rows) == {
        "behind_others": (LONG + 3) // 4 - 2,
        "no_capacity": 1,
        "needs_cpu": LONG - LONG // 4,
    }


def test_a_round_asks_and_does_as_much_for_a_long_line_as_for_a_short_one(short: Dispatched, long: Dispatched) -> None:
    for d in (short, long):
        settled(d)
        d.clock.go(0.5)

    asked = [Counter(said for said, _ in statements(d.w.catalog, d.tick)) for d in (short, long)]
    done = [steps(d.w.catalog, d.tick) for d in (short, long)]

    assert asked[0] == asked[1]
    assert done[1] <= 1.2 * done[0] + 5


def test_a_round_that_looks_at_everything_asks_for_as_many_pages_as_differ(short: Dispatched, long: Dispatched) -> None:
    asked = []
    for d in (short, long):
        settled(d)
        d.go(6, beat=d.run_node(running(d)).heartbeat)
        d.clock.go(4.5)
        asked.append(Counter(said for said, _ in statements(d.w.catalog, d.tick)))

    assert asked[0] == asked[1]
    assert any("AS span" in said for said in asked[0])


def running(d: Dispatched) -> str:
    (job,) = reconcile.open_jobs(d.w)
    return job.job_id


def put(d: Dispatched, before: str, after: str) -> None:
    """Put every job of one state in another, and tell nobody."""
    with d.w.catalog.write() as tx:
        words = {"before": before, "after": after}
        tx.jobs._db.execute(sa.text("UPDATE jobs SET state = :after WHERE state = :before"), words)


def test_what_was_lost_of_a_long_line_is_read_so_much_a_round_and_at_once(
    long: Dispatched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surveying, "PAGE", SPAN)
    monkeypatch.setattr(surveying, "MOST", SPAN + 1)
    put(long, "queued", "paused")
    long.go(3)
    put(long, "paused", "queued")
    long.clock.go(3)
    held: list[int] = []

    def go_round() -> None:
        long.queues.wait_for_wake(0)
        long.tick()
        held.append(len(long.dispatcher._line))

    until(lambda: len(held) > 0 and not long.queues.wait_for_wake(0), go_round)

    # One span has all but its first, for keys are counted from 1; one job of the last started.
    assert held == [2 * SPAN - 1 - 1, LONG - 1]


def test_those_who_left_the_line_unheard_are_let_go(long: Dispatched) -> None:
    settled(long)
    gone, paused, raised = (long.one(train(n, "priority: 900\n")) for n in ("g", "p", "r"))
    long.tick(2)
    assert long.reason(gone) == "no_capacity"

    long.queues.reachable = False
    cancel.cancel(long.w, TENANT, gone)
    pause.pause(long.w, TENANT, paused)
    first = long.line()[0]
    update.update(long.w, TENANT, first, priority=901)
    long.queues.reachable = True
    long.go(6)

    assert (long.reason(first), long.reason(raised)) == ("needs_cpu", "no_capacity")


def test_sums_that_are_equal_by_accident_hide_nothing_for_long(long: Dispatched) -> None:
    line = HeldLine()
    survey = Survey(long.w, line)
    survey.begin()
    assert survey.go_on()
    held = dict(line.sums())
    for order in range(2 * SPAN, 2 * SPAN + 3):
        line.remove(order)
    line.sums = lambda: held  # type: ignore[method-assign]

    for _ in held:
        survey.begin()
        assert survey.go_on()

    assert all(order in line.line for order in range(2 * SPAN, 2 * SPAN + 3))


def test_nothing_is_read_of_what_agrees_but_one_span_in_its_turn(long: Dispatched) -> None:
    survey = Survey(long.w, HeldLine())
    survey.begin()
    whole = statements(long.w.catalog, survey.go_on)
    survey.begin()

    again = statements(long.w.catalog, survey.go_on)

    assert (len(whole), len(again)) == (1, 1)
    assert [last - first for first, last in (said[1][-2:] for said in again)] == [SPAN]


def test_a_wiped_redis_costs_no_job_its_place_and_no_run_its_work(long: Dispatched) -> None:
    settled(long)
    working = running(long)
    node = long.run_node(working)
    node.start()
    line = long.line()
    long.queues.wipe()

    long.go(12, beat=node.heartbeat)

    assert (long.state(working), long.row(working).run, long.line()) == ("running", 1, line)


def test_a_forged_hint_brings_nobody_into_the_line(long: Dispatched) -> None:
    g = long.one(generate("g", more="priority: 1000\n"))
    with long.w.catalog.write() as tx:
        tx.jobs.move(long.row(g).id, JobState.PAUSED)
    long.queues.submit([long.row(g).key, long.row(g).key._replace(tenant="other")])

    long.tick(2)

    assert long.state(g) == "paused"
    assert SpanSum() not in reconcile.spans(long.w).values()
