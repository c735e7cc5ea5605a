"""How items are cut into shards, whether a job is tried again, and how far a run is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genplatform.domain.job import Progress
from genplatform.domain.retry import LONGEST_DELAY, START_BUDGET, UNLIMITED, Cause, RetryPolicy
from genplatform.domain.shards import DEFAULT_SHARD_ITEMS, ShardRange, plan_shards, shard_size
from genplatform.domain.times import moment, rfc3339

# Between neighbours among the floats of these sizes, twice: one to write a time and one to read it.
FLOAT_STEP = 1e-4
BUDGETED = (Cause.NODE_LOST, Cause.OUT_OF_MEMORY, Cause.STALLED, Cause.TIMEOUT, Cause.USER_ERROR)
counts, tiles, batches = st.integers(1, 5000), st.integers(1, 300), st.none() | st.integers(1, 600)


@given(counts, tiles, batches)
def test_shards_cover_every_item_exactly_once_in_order(count: int, tile: int, batch: int | None) -> None:
    shards = plan_shards(count, tile, batch)

    assert [s.index for s in shards] == list(range(len(shards)))
    assert [i for s in shards for i in range(s.start, s.start + s.count)] == list(range(count))


@given(counts, tiles, batches)
def test_shards_are_whole_tiles_but_for_the_last(count: int, tile: int, batch: int | None) -> None:
    *whole, last = plan_shards(count, tile, batch)

    assert {s.count for s in whole} <= {shard_size(tile, batch)}
    assert all(s.start % tile == 0 for s in [*whole, last])
    assert 0 < last.count <= shard_size(tile, batch)


@given(tiles, batches)
def test_a_shard_is_the_fewest_tiles_that_hold_a_batch(tile: int, batch: int | None) -> None:
    size = shard_size(tile, batch)

    assert size % tile == 0
    assert size - tile < (batch or DEFAULT_SHARD_ITEMS) <= size


def test_a_plan() -> None:
    assert plan_shards(300, 64, 100) == [ShardRange(0, 0, 128), ShardRange(1, 128, 128), ShardRange(2, 256, 44)]
    assert plan_shards(0, 64) == []


def test_what_is_the_job_s_own_fault_is_not_tried_again() -> None:
    decision = RetryPolicy().decide(Cause.USER_ERROR, {Cause.USER_ERROR: 1})

    assert (decision.retry, decision.code) == (False, "user_error")


def test_the_first_loss_is_tried_again_at_once_and_later_ones_after_longer_and_longer() -> None:
    policy = RetryPolicy(max=10)

    delays = [policy.decide(Cause.NODE_LOST, {Cause.NODE_LOST: n}).delay for n in range(1, 11)]

    assert delays == [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]


@given(st.integers(0, 20), st.integers(1, 40))
def test_a_job_is_tried_again_as_often_as_its_spec_says(most: int, tries: int) -> None:
    decision = RetryPolicy(max=most).decide(Cause.NODE_LOST, {Cause.NODE_LOST: tries})

    assert decision.retry == (tries <= most)
    assert decision.code == ("backing_off" if tries <= most else "node_lost")


@given(st.dictionaries(st.sampled_from(BUDGETED), st.integers(0, 9)), st.integers(0, 9), st.integers(1, 12))
def test_each_cause_has_the_budget_that_the_spec_gives_it_and_else_the_one_of_all(
    budgets: dict[Cause, int], most: int, tries: int
) -> None:
    policy = RetryPolicy(most, frozenset(BUDGETED), budgets)

    for cause in BUDGETED:
        decision = policy.decide(cause, {cause: tries})
        allowed = budgets.get(cause, most)
        assert (decision.retry, decision.tries, decision.budget) == (tries <= allowed, tries, allowed)


def test_a_budget_is_worth_nothing_for_a_cause_after_which_nothing_is_tried_again() -> None:
    policy = RetryPolicy(on=frozenset({Cause.NODE_LOST}), budgets={Cause.TIMEOUT: 5})

    assert not policy.decide(Cause.TIMEOUT, {Cause.TIMEOUT: 1}).retry


def test_a_run_that_stalled_is_tried_again_and_one_that_took_too_long_is_not_unless_asked() -> None:
    plain, asked = RetryPolicy(), RetryPolicy(on=frozenset({Cause.TIMEOUT}))

    assert plain.decide(Cause.STALLED, {Cause.STALLED: 1}).retry
    assert not plain.decide(Cause.TIMEOUT, {Cause.TIMEOUT: 1}).retry
    assert asked.decide(Cause.TIMEOUT, {Cause.TIMEOUT: 1}).retry


@given(st.integers(1, 3), st.sets(st.sampled_from(Cause)))
def test_nothing_is_tried_again_once_its_time_is_over_or_nobody_wants_it(most: int, on: set[Cause]) -> None:
    policy = RetryPolicy(most, frozenset(on - {Cause.DEADLINE, Cause.CANCELLED}))

    assert not policy.decide(Cause.DEADLINE, {Cause.DEADLINE: 1}).retry
    assert not policy.decide(Cause.CANCELLED, {Cause.CANCELLED: 1}).retry


@given(st.sampled_from(sorted(UNLIMITED)), st.integers(1, 1000))
def test_making_room_and_shutting_down_cost_no_try(cause: Cause, tries: int) -> None:
    decision = RetryPolicy(max=0, on=frozenset()).decide(cause, {cause: tries})

    assert (decision.retry, decision.delay) == (True, 0.0)


def test_causes_are_counted_apart() -> None:
    policy = RetryPolicy(max=1)
    earlier = {Cause.NODE_LOST: 1, Cause.OUT_OF_MEMORY: 9, Cause.PREEMPTED: 9}

    assert policy.decide(Cause.NODE_LOST, earlier).retry
    assert not policy.decide(Cause.OUT_OF_MEMORY, earlier).retry


@pytest.mark.parametrize(("tries", "again"), [(START_BUDGET, True), (START_BUDGET + 1, False)])
def test_failed_starts_have_a_budget_of_their_own(tries: int, again: bool) -> None:
    assert RetryPolicy(max=0, on=frozenset()).decide(Cause.START_FAILED, {Cause.START_FAILED: tries}).retry == again


@given(st.integers(2, 60), st.floats(0, 1, exclude_max=True))
def test_jitter_lengthens_by_at_most_half(tries: int, jitter: float) -> None:
    policy = RetryPolicy(max=100)
    plain = policy.decide(Cause.NODE_LOST, {Cause.NODE_LOST: tries}).delay

    assert plain <= policy.decide(Cause.NODE_LOST, {Cause.NODE_LOST: tries}, jitter).delay <= 1.5 * plain
    assert plain <= LONGEST_DELAY


def test_progress_says_the_seconds_to_go_when_it_knows_the_rate() -> None:
    assert Progress(25, 100, "steps", 10.0).as_json() == {
        "done": 25,
        "total": 100,
        "unit": "steps",
        "rate": 10.0,
        "eta_seconds": 7.5,
    }
    assert Progress(0, 100, "steps").eta_seconds is None
    assert Progress(0, 100, "steps", 0.0).eta_seconds is None
    assert Progress(120, 100, "steps", 1.0).eta_seconds == 0.0


def test_times_leave_as_rfc_3339_in_utc() -> None:
    assert rfc3339(1_795_323_987.12) == "2026-11-22T05:06:27.120Z"
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"
    assert rfc3339(None) is None


@given(st.floats(0, 200_000_000_000))
def test_times_come_back_from_rfc_3339_to_the_millisecond(seconds: float) -> None:
    assert moment(rfc3339(seconds) or "") == pytest.approx(seconds, abs=0.001 + FLOAT_STEP)


@pytest.mark.parametrize("text", ["", "2026-11-22", "2026-11-22T05:06:27", "2026-11-22T05:06Z", "20261122T050627Z"])
def test_what_is_no_time_with_its_zone_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="zone"):
        moment(text)
