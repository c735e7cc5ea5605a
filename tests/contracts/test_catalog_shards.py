"""Shards in the record: planned once, claimed by one, published by the current claim of the current Run alone."""

from __future__ import annotations

from itertools import product

from records import NOW, a_generate_job, a_job

from genplatform.domain.shards import plan_shards
from genplatform.domain.states import SHARD_TRANSITIONS, ShardState


def test_a_plan_covers_every_item_once_in_order(catalog):
    with catalog.write() as tx:
        job_pk = a_generate_job(tx, count=300)
        shards = tx.shards.of_job(job_pk)

        assert [(s.number, s.start, s.count) for s in shards] == [(0, 0, 128), (1, 128, 128), (2, 256, 44)]
        assert {s.shard_state for s in shards} == {ShardState.PENDING}
        assert [tx.shards.containing(job_pk, item).number for item in (0, 127, 128, 255, 256, 299)] == [
            0,
            0,
            1,
            1,
            2,
            2,
        ]
        assert tx.shards.containing(job_pk, 300) is tx.shards.containing(job_pk, -1) is None
        assert tx.shards.get(job_pk, 2) == shards[2]
        assert tx.shards.get(job_pk, 3) is None


def test_a_plan_of_nothing_adds_nothing(catalog):
    with catalog.write() as tx:
        job_pk = a_job(tx)
        tx.shards.plan("default", job_pk, plan_shards(0, tile=64))

        assert tx.shards.of_job(job_pk) == []


def test_a_claimed_shard_is_not_to_be_had_and_every_claim_has_a_higher_number(catalog):
    with catalog.write() as tx:
        job_pk = a_generate_job(tx)

        assert tx.shards.claim(job_pk, 0, run=1, worker="w1") == 1
        assert tx.shards.claim(job_pk, 0, run=1, worker="w2") is None
        assert tx.shards.settle(job_pk, 0, 1, 1, ShardState.PENDING, failures=1)
        assert tx.shards.claim(job_pk, 0, run=2, worker="w2") == 2
        assert tx.shards.claim(job_pk, 1, run=2, worker="w2") == 1
        assert tx.shards.claim(job_pk, 99, run=2, worker="w2") is None
        shard = tx.shards.get(job_pk, 0)

    assert (shard.run, shard.claim, shard.worker, shard.failures) == (2, 2, "w2", 1)


def test_only_the_current_claim_of_its_own_run_is_settled(catalog):
    with catalog.write() as tx:
        job_pk = a_generate_job(tx)
        tx.shards.claim(job_pk, 0, run=1, worker="w1")
        tx.shards.release_all(job_pk)
        tx.shards.claim(job_pk, 0, run=2, worker="w2")

        for run, claim in [(1, 1), (1, 2), (2, 1), (2, 3), (3, 2), (0, 0)]:
            for to in ShardState:
                assert not tx.shards.settle(job_pk, 0, run, claim, to, folder="stale")
        assert tx.shards.settle(job_pk, 0, 2, 2, ShardState.PUBLISHED, folder="shard-0", size=9, published_at=NOW)
        assert not tx.shards.settle(job_pk, 0, 2, 2, ShardState.PUBLISHED, folder="twice")
        shard = tx.shards.get(job_pk, 0)

    assert (shard.shard_state, shard.folder, shard.size) == (ShardState.PUBLISHED, "shard-0", 9)


def test_a_claimed_shard_moves_as_the_table_says_and_no_other_moves_at_all(catalog):
    with catalog.write() as tx:
        job_pk = a_generate_job(tx, count=128 * 16)
        for number, (before, after) in enumerate(product(ShardState, ShardState)):
            if before is not ShardState.PENDING:
                tx.shards.claim(job_pk, number, run=1, worker="w")
            if before in (ShardState.PUBLISHED, ShardState.FAILED):
                assert tx.shards.settle(job_pk, number, 1, 1, before)

            moved = tx.shards.settle(job_pk, number, 1, 1, after)

            legal = before is ShardState.CLAIMED and after in SHARD_TRANSITIONS[before]
            assert moved is legal, f"{before} -> {after}"
            assert tx.shards.get(job_pk, number).shard_state is (after if legal else before)


def test_the_end_of_a_run_gives_its_claims_back_and_leaves_what_is_published(catalog):
    with catalog.write() as tx:
        job_pk, other = a_generate_job(tx, count=512), a_generate_job(tx, "j_hhhhhhhhhh")
        for number in (0, 1, 2):
            tx.shards.claim(job_pk, number, run=1, worker="w")
        tx.shards.claim(other, 0, run=1, worker="w")
        tx.shards.settle(job_pk, 0, 1, 1, ShardState.PUBLISHED)

        assert tx.shards.release_all(job_pk) == 2
        assert tx.shards.count(job_pk) == {ShardState.PUBLISHED: 1, ShardState.PENDING: 3}
        assert [s.number for s in tx.shards.in_state(job_pk, ShardState.PENDING)] == [1, 2, 3]
        assert not tx.shards.settle(job_pk, 1, 1, 1, ShardState.PUBLISHED)
        assert tx.shards.get(other, 0).shard_state is ShardState.CLAIMED
