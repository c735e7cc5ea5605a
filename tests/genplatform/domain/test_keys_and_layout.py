"""The keys that travel through Redis, and the names that bytes have in the store."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genplatform.domain import layout
from genplatform.domain.keys import ClaimKey, JobKey, RunKey, ShardKey, parse_lease, pool_actor, pool_id

KINDS = [JobKey, RunKey, ShardKey, ClaimKey]
words = st.from_regex(r"[A-Za-z0-9_.-]{1,20}", fullmatch=True)
numbers = st.integers(0, 10**17)
claims = st.builds(ClaimKey, words, words, numbers, numbers, numbers)


@given(claims)
def test_every_key_reads_back_as_it_is_written(claim: ClaimKey) -> None:
    for kind in KINDS:
        key = kind(*claim[: len(kind._fields)])
        assert kind.parse(str(key)) == key


@given(claims)
def test_no_key_is_taken_for_one_of_another_kind(claim: ClaimKey) -> None:
    for kind in KINDS:
        text = str(kind(*claim[: len(kind._fields)]))
        assert [k for k in KINDS if k.parse(text) is not None] == [kind]


@given(st.text(alphabet=st.sampled_from("ab/0123٣²-+ \n\x00")) | st.text())
def test_what_nobody_wrote_is_none(text: str) -> None:
    for kind in KINDS:
        key = kind.parse(text)
        assert key is None or str(key) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "//",
        "a",
        "a/",
        "/j/1",
        "a//1",
        "a/j/",
        "a/j/x",
        "a/j/-1",
        "a/j/01",
        "a/j/1 ",
        "a/j/1\n",
        "a/j/٣",
        "a/j/1.0",
        "a/j/" + "9" * 5000,
    ],
)
def test_broken_run_keys_are_none(text: str) -> None:
    assert RunKey.parse(text) is None


@given(claims)
def test_a_lease_is_of_a_run_or_of_a_claim(claim: ClaimKey) -> None:
    run = RunKey(claim.tenant, claim.job_id, claim.run)
    shard = ShardKey(claim.tenant, claim.job_id, claim.run, claim.shard)

    assert parse_lease(str(claim)) == claim
    assert parse_lease(str(run)) == run
    assert parse_lease(str(shard)) is None
    assert claim.job == run.job == shard.job == JobKey(claim.tenant, claim.job_id)


def test_actors_are_named_after_their_run_or_pool() -> None:
    assert RunKey("default", "j_a", 3).actor == "run/default/j_a/3"
    assert pool_actor("default", "pabc", 7) == "pool/default/pabc/7"


@given(st.tuples(words, words, words), st.tuples(words, words, words))
def test_a_pool_is_one_tenant_one_model_and_one_code(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    assert (pool_id(*one) == pool_id(*other)) == (one == other)


# The tenant's and job's own words are kept apart by the slash that neither may hold.
@given(claims, claims)
def test_two_claims_never_write_one_object(one: ClaimKey, other: ClaimKey) -> None:
    assert (layout.shard(one) == layout.shard(other)) == (one == other)
    assert layout.shard(one).startswith(layout.outputs(one.job) + "/")


@given(claims, numbers, st.integers(0, 10**9 - 1), st.integers(0, 10**9 - 1))
def test_two_runs_never_write_one_checkpoint_or_sheet(claim: ClaimKey, run: int, step: int, later: int) -> None:
    one, other = RunKey(*claim[:3]), RunKey(claim.tenant, claim.job_id, run)
    same = (one, step) == (other, later)

    assert (layout.checkpoint(one, step) == layout.checkpoint(other, later)) == same
    assert (layout.sheet(one, step) == layout.sheet(other, later)) == same
