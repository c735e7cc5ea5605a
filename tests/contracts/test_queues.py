"""What every implementation of the queues promises of what it hands on: the Redis one, and the twin in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from queue import Empty, Queue

import pytest
from both_queues import LONG, A, B, C, queues, runs, server, shards, wiped
from together import together

from genplatform.domain.keys import JobKey, ShardKey
from genplatform.errors import BadRequest
from genplatform.queues import Queues

__all__ = ["queues", "server"]  # fixtures, found by their names


def test_a_server_that_is_up_answers_a_ping(queues: Queues) -> None:
    assert queues.ping() is None


# Intake


def test_the_intake_gives_the_oldest_first_and_each_once(queues: Queues) -> None:
    queues.submit([C, A])
    queues.submit([B, C])

    assert queues.take_intake(2) == [C, A]
    assert queues.take_intake(10) == [B]
    assert queues.take_intake(10) == []


def test_a_job_taken_out_of_the_intake_may_be_put_in_again(queues: Queues) -> None:
    queues.submit([A])
    queues.take_intake(1)

    queues.submit([A])

    assert queues.take_intake(10) == [A]


def test_taking_none_takes_none(queues: Queues) -> None:
    queues.submit([A])
    queues.hand_off("p", shards(A, 0))

    assert queues.take_intake(0) == []
    assert queues.take_shards("p", 0) == []
    assert queues.take_intake(1) == [A]
    assert queues.offered("p") == 1


def test_thousands_of_jobs_keep_their_order_through_the_intake(queues: Queues) -> None:
    jobs = [JobKey("default", f"j_{number:04d}") for number in range(2500)]

    queues.submit(jobs)

    assert queues.take_intake(5000) == jobs


@pytest.mark.parametrize("job", [JobKey("a/b", "c"), JobKey("", "c"), JobKey("a", "")])
def test_a_key_that_would_read_back_as_another_is_refused(queues: Queues, job: JobKey) -> None:
    with pytest.raises(BadRequest):
        queues.submit([job])
    with pytest.raises(BadRequest):
        queues.hand_off("p", shards(job, 0))
    with pytest.raises(BadRequest):
        queues.grant(runs(1, job=job), LONG)


# Wake


def test_one_wake_is_kept_for_the_next_who_waits_and_only_one(queues: Queues) -> None:
    queues.wake()
    queues.wake()

    assert queues.wait_for_wake(LONG) is True
    assert queues.wait_for_wake(0) is False


def test_nobody_wakes_by_himself(queues: Queues) -> None:
    assert queues.wait_for_wake(0) is False
    assert queues.wait_for_wake(-1) is False
    assert queues.wait_for_wake(0.001) is False


def test_who_waits_is_woken_from_another_thread(queues: Queues) -> None:
    woken = together([lambda: queues.wait_for_wake(LONG), lambda: queues.submit([A]) or False])

    assert woken == [True, False]


def test_submitting_and_handing_off_something_new_wakes(queues: Queues) -> None:
    def wakes(act: Callable[[], object]) -> bool:
        act()
        return queues.wait_for_wake(0)

    assert wakes(lambda: queues.submit([A]))
    assert not wakes(lambda: queues.submit([]))
    assert wakes(lambda: queues.hand_off("p", shards(A, 0)))
    assert not wakes(lambda: queues.hand_off("p", shards(A, 0)))


# Hand-off


def test_whoever_listens_hears_what_is_new_and_for_which_pool(queues: Queues) -> None:
    heard: Queue[tuple[str, int]] = Queue()
    over = threading.Event()
    listener = threading.Thread(target=queues.hear_offers, args=(lambda *told: heard.put(told), over), daemon=True)
    listener.start()
    for number in count():  # until it listens
        queues.hand_off("first", shards(A, number))
        with suppress(Empty):
            heard.get(timeout=0.05)
            break

    queues.hand_off("p", shards(B, 0, 1))
    queues.hand_off("p", shards(B, 0, 1))
    queues.hand_off("p", shards(B, 1, 2))

    told: list[tuple[str, int]] = []
    while len(told) < 2:
        told += [one for one in [heard.get(timeout=LONG)] if one[0] == "p"]
    over.set()
    listener.join(LONG)
    assert told == [("p", 2), ("p", 1)]
    assert not listener.is_alive()


def test_shards_are_offered_once_however_often_they_are_handed_off(queues: Queues) -> None:
    assert queues.hand_off("p", shards(A, 0, 1, 1)) == 2
    assert queues.hand_off("p", shards(A, 1, 2)) == 1

    assert queues.offered("p") == 3
    assert queues.take_shards("p", 10) == shards(A, 0, 1, 2)
    assert queues.offered("p") == 0


def test_the_oldest_job_comes_first_then_the_lowest_shard(queues: Queues) -> None:
    queues.hand_off("p", shards(B, 10, 9))
    queues.hand_off("p", [*shards(A, 0), *shards(B, 2)])

    assert queues.take_shards("p", 3) == shards(B, 2, 9, 10)
    assert queues.take_shards("p", 3) == shards(A, 0)


def test_a_shard_that_comes_back_keeps_its_jobs_place(queues: Queues) -> None:
    queues.hand_off("p", [*shards(A, 0, 1), *shards(B, 0, 1)])
    queues.take_shards("p", 2)

    queues.hand_off("p", shards(A, 1))

    assert queues.take_shards("p", 10) == [*shards(A, 1), *shards(B, 0, 1)]


def test_a_jobs_place_outlives_an_empty_queue(queues: Queues) -> None:
    queues.hand_off("p", shards(A, 0))
    queues.take_shards("p", 1)

    queues.hand_off("p", [*shards(B, 0), *shards(A, 0)])

    assert queues.take_shards("p", 10) == [*shards(A, 0), *shards(B, 0)]


def test_shards_of_two_runs_are_two_offers(queues: Queues) -> None:
    queues.hand_off("p", [*shards(A, 0, run=1), *shards(A, 0, run=2)])

    assert queues.take_shards("p", 10) == [*shards(A, 0, run=1), *shards(A, 0, run=2)]


def test_shard_numbers_past_the_span_stay_within_their_job(queues: Queues) -> None:
    huge = 2**40
    queues.hand_off("p", [*shards(A, huge, 1), *shards(B, 0)])

    assert queues.take_shards("p", 10) == [*shards(A, 1, huge), *shards(B, 0)]


def test_pools_do_not_meet(queues: Queues) -> None:
    queues.hand_off("p", shards(A, 0))
    queues.hand_off("q", shards(A, 1))

    assert queues.take_shards("q", 10) == shards(A, 1)
    assert queues.offered("p") == 1
    assert queues.offered("r") == 0


def test_withdrawing_takes_one_jobs_shards_off_one_pool(queues: Queues) -> None:
    for pool in "pq":
        queues.hand_off(pool, [*shards(A, 0, 5), *shards(B, 0), *shards(A, 3, run=2)])

    queues.withdraw("p", A)
    queues.withdraw("p", C)
    queues.withdraw("r", A)

    assert queues.take_shards("p", 10) == shards(B, 0)
    assert queues.offered("q") == 4


def test_several_jobs_are_withdrawn_together(queues: Queues) -> None:
    queues.hand_off("p", [*shards(A, 0, 5), *shards(B, 0), *shards(C, 3)])

    queues.withdraw("p", A, C)
    queues.withdraw("p")

    assert queues.take_shards("p", 10) == shards(B, 0)


def test_a_withdrawn_job_comes_back_behind_the_others(queues: Queues) -> None:
    queues.hand_off("p", [*shards(A, 0, 1), *shards(B, 0)])
    queues.withdraw("p", A)

    queues.hand_off("p", shards(A, 1))

    assert queues.take_shards("p", 10) == [*shards(B, 0), *shards(A, 1)]


def test_no_two_takers_get_the_same_shard(queues: Queues) -> None:
    offered = shards(A, *range(3000))
    queues.hand_off("p", offered)

    bags: list[list[ShardKey]] = [[] for _ in range(4)]

    def taker(bag: list[ShardKey]) -> None:
        while taken := queues.take_shards("p", 7):
            bag.extend(taken)

    together([lambda bag=bag: taker(bag) for bag in bags])

    taken = [shard for bag in bags for shard in bag]
    assert len(taken) == len(offered)
    assert sorted(taken) == offered


def test_a_hundred_thousand_shards_go_through_in_order(queues: Queues) -> None:
    offered = [*shards(B, *range(60_000)), *shards(A, *range(40_000))]

    assert queues.hand_off("p", offered) == 100_000
    assert queues.hand_off("p", offered[::10]) == 0
    assert [shard for _ in range(100) for shard in queues.take_shards("p", 1000)] == offered


def test_nothing_asked_is_nothing_answered(queues: Queues) -> None:
    queues.submit([])
    queues.grant([], 1)
    queues.release([])
    queues.report([])

    assert queues.hand_off("p", []) == 0
    assert queues.renew([], 1) == []
    assert queues.missing([]) == []
    assert queues.stops([]) == {}


# Loss


def test_after_a_wipe_all_is_gone_and_everything_works_again(queues: Queues) -> None:
    queues.submit([A])
    queues.hand_off("p", [*shards(A, 0), *shards(B, 0)])
    queues.grant(runs(1), LONG)
    queues.flag_stop(A, "cancel")
    queues.report([{"n": 1}])

    wiped(queues)

    assert queues.renew(runs(1), LONG) == runs(1)
    assert (queues.take_intake(9), queues.take_shards("p", 9), queues.offered("p")) == ([], [], 0)
    assert (queues.stops([A]), queues.read_reports(9).entries, queues.wait_for_wake(0)) == ({}, [], False)
    queues.withdraw("p", A)
    queues.drop_reports(queues.read_reports(1))
    queues.hand_off("p", [*shards(B, 1), *shards(A, 0)])
    queues.submit([B])
    queues.grant(runs(1), LONG)
    assert queues.take_shards("p", 9) == [*shards(B, 1), *shards(A, 0)]
    assert queues.take_intake(9) == [B]
    assert queues.missing(runs(1)) == []


def test_wipes_in_the_middle_of_many_acts_raise_nothing_and_double_nothing(queues: Queues) -> None:
    numbers = count()
    taken: list[ShardKey] = []

    def offer() -> None:
        for _ in range(60):
            queues.hand_off("p", shards(A, *(next(numbers) for _ in range(10))))
            queues.submit([A, B])
            queues.grant(runs(1), LONG)

    def take() -> None:
        for _ in range(60):
            taken.extend(queues.take_shards("p", 10))
            queues.take_intake(2)
            queues.renew(runs(1), LONG)

    def wipe() -> None:
        for _ in range(30):
            wiped(queues)

    together([offer, take, wipe])

    assert len(set(taken)) == len(taken)
