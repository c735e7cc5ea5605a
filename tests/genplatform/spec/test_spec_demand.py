"""A spec says in the domain's words what it asks of the machine, when it is retried and what it publishes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from genplatform.domain.job import Demand
from genplatform.domain.names import ModelRef
from genplatform.domain.retry import Cause, RetryPolicy
from genplatform.errors import BadSpec
from genplatform.spec import deadline_at, demand, model_ref, parse_stored, published_name, retry_policy
from genplatform.spec.durations import Duration, said

GENERATE = "{kind: generate, model: m@3, count: 1, resources: {workers: %s, cpus_per_worker: 2}}"


@pytest.mark.parametrize(("workers", "fewest", "most"), [("1", 1, 1), ("4", 4, 4), ("1..8", 1, 8), ("2..2", 2, 2)])
def test_workers_may_be_a_number_or_a_range(load_text: Any, workers: str, fewest: int, most: int) -> None:
    (job,) = load_text(GENERATE % workers)

    assert demand(job.spec) == Demand(fewest, most, cpus=2.0)


def test_a_job_that_says_nothing_has_the_domain_s_own_defaults(load_text: Any) -> None:
    (job,) = load_text("{kind: train, recipe: gan}")

    assert demand(job.spec) == Demand()
    assert retry_policy(job.spec) == RetryPolicy()


def test_a_job_chooses_its_retries(load_text: Any) -> None:
    (job,) = load_text("{kind: train, recipe: gan, retry: {max: 1, on: [user_error, node_lost]}}")

    assert retry_policy(job.spec) == RetryPolicy(1, frozenset({Cause.USER_ERROR, Cause.NODE_LOST}))


def test_a_job_gives_causes_budgets_of_their_own(load_text: Any) -> None:
    (job,) = load_text("{kind: train, recipe: gan, retry: {budgets: {out_of_memory: 1, node_lost: 10}}}")

    policy = retry_policy(job.spec)

    causes = (Cause.OUT_OF_MEMORY, Cause.NODE_LOST, Cause.STALLED, Cause.TIMEOUT, Cause.USER_ERROR, Cause.PREEMPTED)
    assert [policy.budget(cause) for cause in causes] == [1, 10, 3, 0, 0, None]
    assert retry_policy(parse_stored(job.spec.model_dump(mode="json"))) == policy


@pytest.mark.parametrize(
    ("written", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("1.5h", 5400), ("1d", 86400)]
)
def test_durations_are_seconds_or_texts_with_a_unit(load_text: Any, written: str, seconds: float) -> None:
    (job,) = load_text(f"{{kind: train, recipe: gan, timeout: {written}, progress_timeout: {written}}}")

    assert (job.spec.timeout, job.spec.progress_timeout) == (seconds, seconds)
    assert parse_stored(job.spec.model_dump(mode="json")) == job.spec


@pytest.mark.parametrize(
    ("written", "at"),
    [
        ("12h", 1_000_043_200.0),
        ("60", 1_000_000_060.0),
        ("2026-12-01T12:00:00Z", 1_796_126_400.0),
        ("2026-12-01t13:00:00.5+01:00", 1_796_126_400.5),
    ],
)
def test_a_deadline_is_a_time_or_counted_from_the_submit(load_text: Any, written: str, at: float) -> None:
    (job,) = load_text(f"{{kind: train, recipe: gan, deadline: {written}}}")

    assert deadline_at(job.spec.deadline, 1_000_000_000.0) == at
    assert deadline_at(parse_stored(job.spec.model_dump(mode="json")).deadline, 1_000_000_000.0) == at


def test_a_job_that_says_nothing_may_take_its_time_as_long_as_it_gets_further(load_text: Any) -> None:
    (job,) = load_text("{kind: train, recipe: gan}")

    assert (job.spec.timeout, job.spec.progress_timeout, deadline_at(job.spec.deadline, 0.0)) == (None, 3600.0, None)


@given(st.sampled_from("smhd"), st.integers(1, 300))
def test_a_duration_is_said_as_a_job_file_would(unit: str, count: int) -> None:
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86400}[unit] * float(count)

    assert TypeAdapter(Duration).validate_python(said(seconds)) == seconds


def test_a_train_job_publishes_and_a_generate_job_uses_a_model(load_text: Any) -> None:
    train, generate = load_text("{kind: train, recipe: gan, publish: p}\n---\n" + GENERATE % 1)

    assert (published_name(train.spec), model_ref(train.spec)) == ("p", None)
    assert (published_name(generate.spec), model_ref(generate.spec)) == (None, ModelRef("m", version=3))


@pytest.mark.parametrize("stored", [{}, {"kind": "x"}, {"kind": "train"}, {"kind": "train", "recipe": "gan", "x": 1}])
def test_what_is_no_stored_spec_is_refused(stored: dict[str, Any]) -> None:
    with pytest.raises(BadSpec):
        parse_stored(stored)
