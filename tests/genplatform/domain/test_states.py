"""The transition tables: closed, absorbing at their ends, and every state within reach."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genplatform.domain.states import (
    ACTIVE_JOB_STATES,
    JOB_TRANSITIONS,
    RUN_TRANSITIONS,
    SHARD_TRANSITIONS,
    TERMINAL_JOB_STATES,
    TERMINAL_RUN_STATES,
    JobState,
    RunState,
    ShardState,
    sources,
)

Table = Mapping[StrEnum, frozenset[StrEnum]]
TABLES = [
    pytest.param(JobState, JOB_TRANSITIONS, JobState.QUEUED, id="job"),
    pytest.param(RunState, RUN_TRANSITIONS, RunState.STARTING, id="run"),
    pytest.param(ShardState, SHARD_TRANSITIONS, ShardState.PENDING, id="shard"),
]


def reachable(table: Table, start: StrEnum) -> set[StrEnum]:
    """Return the states that a thing can come to from `start`, `start` included."""
    found, front = {start}, [start]
    while front:
        new = table[front.pop()] - found
        found |= new
        front += new
    return found


@pytest.mark.parametrize(("states", "table", "first"), TABLES)
def test_the_table_speaks_of_every_state_and_of_no_other(states: type[StrEnum], table: Table, first: StrEnum) -> None:
    assert set(table) == set(states)
    assert {s for out in table.values() for s in out} <= set(states)


@pytest.mark.parametrize(("states", "table", "first"), TABLES)
def test_every_state_is_within_reach_and_from_every_one_an_end_is(
    states: type[StrEnum], table: Table, first: StrEnum
) -> None:
    ends = {s for s, out in table.items() if not out}

    assert reachable(table, first) == set(states)
    assert all(reachable(table, state) & ends for state in states)


@pytest.mark.parametrize(("states", "table", "first"), TABLES)
def test_no_state_leads_to_itself(states: type[StrEnum], table: Table, first: StrEnum) -> None:
    assert [s for s, out in table.items() if s in out] == []


def test_the_ends_are_these() -> None:
    assert {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED} == TERMINAL_JOB_STATES
    assert set(RunState) - {RunState.STARTING, RunState.RUNNING} == TERMINAL_RUN_STATES
    assert not ACTIVE_JOB_STATES & TERMINAL_JOB_STATES


def test_a_job_that_is_being_cancelled_comes_to_no_other_end() -> None:
    assert reachable(JOB_TRANSITIONS, JobState.CANCELLING) == {JobState.CANCELLING, JobState.CANCELLED}


def test_a_job_succeeds_only_out_of_a_run() -> None:
    assert sources(JobState.SUCCEEDED) == {JobState.STARTING, JobState.RUNNING}


def test_a_deadline_ends_whatever_has_not_ended_and_is_not_being_cancelled() -> None:
    assert sources(JobState.FAILED) == frozenset(JobState) - TERMINAL_JOB_STATES - {JobState.CANCELLING}


@given(st.lists(st.sampled_from(JobState), max_size=30))
def test_whatever_is_asked_of_a_job_its_end_is_final(wishes: list[JobState]) -> None:
    state, ended = JobState.QUEUED, None
    for wish in wishes:
        if wish in JOB_TRANSITIONS[state]:
            state = wish
        if state in TERMINAL_JOB_STATES:
            ended = ended or state

    assert ended is None or state is ended


@given(st.sampled_from(JobState), st.sampled_from(JobState))
def test_sources_are_the_table_read_backwards(one: JobState, other: JobState) -> None:
    assert (one in sources(other)) == (other in JOB_TRANSITIONS[one])
