"""A spec says in the domain's words what it asks of the machine, when it is retried and what it publishes."""

from __future__ import annotations

from typing import Any

import pytest

from genplatform.domain.job import Demand
from genplatform.domain.names import ModelRef
from genplatform.domain.retry import Cause, RetryPolicy
from genplatform.errors import BadSpec
from genplatform.spec import demand, model_ref, parse_stored, published_name, retry_policy

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


def test_a_train_job_publishes_and_a_generate_job_uses_a_model(load_text: Any) -> None:
    train, generate = load_text("{kind: train, recipe: gan, publish: p}\n---\n" + GENERATE % 1)

    assert (published_name(train.spec), model_ref(train.spec)) == ("p", None)
    assert (published_name(generate.spec), model_ref(generate.spec)) == (None, ModelRef("m", version=3))


@pytest.mark.parametrize("stored", [{}, {"kind": "x"}, {"kind": "train"}, {"kind": "train", "recipe": "gan", "x": 1}])
def test_what_is_no_stored_spec_is_refused(stored: dict[str, Any]) -> None:
    with pytest.raises(BadSpec):
        parse_stored(stored)
