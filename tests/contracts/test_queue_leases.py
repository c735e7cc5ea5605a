"""What every implementation of the queues promises of what is known of running work: leases, stop flags, reports."""

from __future__ import annotations

import pytest
from both_queues import LONG, A, B, C, claim, queues, runs, server, wiped

from genplatform.domain.keys import JobKey
from genplatform.queues import Queues
from genplatform.queues.keys import MOST_REPORTS

__all__ = ["queues", "server"]  # fixtures, found by their names


# Leases


def test_a_lease_that_runs_is_held_and_not_expired(queues: Queues) -> None:
    held = [*runs(1), claim(1)]

    queues.grant(held, LONG)

    assert queues.expired(10) == []
    assert queues.missing([*held, *runs(2)]) == runs(2)


@pytest.mark.parametrize("seconds", [0, -5])
def test_a_lease_without_time_is_expired_at_once(queues: Queues, seconds: float) -> None:
    queues.grant(runs(1), seconds)

    assert queues.expired(10) == runs(1)


def test_expired_leases_stay_until_released_the_longest_expired_first(queues: Queues) -> None:
    queues.grant(runs(1), -10)
    queues.grant([claim(1)], -30)
    queues.grant(runs(3), -20)

    assert queues.expired(2) == [claim(1), *runs(3)]
    assert queues.expired(10) == [claim(1), *runs(3, 1)]
    assert queues.expired(0) == []
    queues.release([claim(1), *runs(3, 9)])
    assert queues.expired(10) == runs(1)


def test_an_expired_lease_that_nobody_swept_is_held_and_can_be_renewed(queues: Queues) -> None:
    queues.grant(runs(1), -10)

    assert queues.missing(runs(1)) == []
    assert queues.renew(runs(1), LONG) == []
    assert queues.expired(10) == []


def test_renewing_tells_which_leases_are_not_there_and_makes_none(queues: Queues) -> None:
    queues.grant(runs(1, 3), LONG)
    queues.release(runs(1))

    assert queues.renew([*runs(1, 3), claim(7)], LONG) == [*runs(1), claim(7)]
    assert queues.missing([*runs(1, 3), claim(7)]) == [*runs(1), claim(7)]


def test_the_last_grant_counts(queues: Queues) -> None:
    queues.grant(runs(1), LONG)

    queues.grant(runs(1), 0)

    assert queues.expired(10) == runs(1)


def test_thousands_of_leases_are_granted_renewed_and_released_at_once(queues: Queues) -> None:
    many = runs(*range(2500))
    queues.grant(many, -1)

    assert queues.renew([*many, *runs(9999)], -1) == runs(9999)
    assert sorted(queues.expired(5000)) == many
    queues.release(many)
    assert queues.missing(many) == many


def test_all_leases_are_listed_expired_or_not(queues: Queues) -> None:
    many = runs(*range(2500))
    queues.grant(many, LONG)
    queues.grant([claim(7)], -1)
    queues.release(runs(3))

    assert queues.leases() == {*many, claim(7)} - {*runs(3)}


# Stop flags


def test_a_stop_flag_stands_until_it_is_cleared_and_the_last_reason_counts(queues: Queues) -> None:
    queues.flag_stop(A, "pause")
    queues.flag_stop(A, "cancel")
    queues.flag_stop(B, "shutdown")

    assert queues.stops([A, B, C]) == {A: "cancel", B: "shutdown"}
    queues.clear_stop(A)
    queues.clear_stop(C)
    assert queues.stops([C, A]) == {}
    queues.flag_stop(A, "cancel")
    queues.clear_stop(B, C, A)
    assert queues.stops([A, B]) == {}


def test_the_jobs_that_flags_stand_for_are_listed(queues: Queues) -> None:
    many = [JobKey("default", f"j_{number:04d}") for number in range(2500)]
    assert queues.flagged() == set()

    for job in [*many, A]:
        queues.flag_stop(job, "cancel")
    queues.clear_stop(A)

    assert queues.flagged() == set(many)


# Reports


def test_reports_are_read_in_order_and_stay_until_they_are_dropped(queues: Queues) -> None:
    queues.report([{"n": 1, "text": "zwölf\n"}, {"n": 2}])
    queues.report([{"n": 3, "values": {"loss": 0.5}}])

    read = queues.read_reports(2)
    assert read.entries == [{"n": 1, "text": "zwölf\n"}, {"n": 2}]
    queues.drop_reports(read)
    queues.drop_reports(queues.read_reports(0))
    assert queues.read_reports(10).entries == [{"n": 3, "values": {"loss": 0.5}}]
    assert queues.read_reports(0).entries == []
    queues.drop_reports(queues.read_reports(10))
    assert queues.read_reports(10).entries == []


def numbers(queues: Queues) -> list[int]:
    return [entry["n"] for entry in queues.read_reports(10).entries]


def test_reports_that_another_reader_dropped_before_are_not_counted_again(queues: Queues) -> None:
    queues.report([{"n": n} for n in range(1, 8)])
    shorter, longer = queues.read_reports(2), queues.read_reports(4)
    queues.drop_reports(queues.read_reports(2))

    queues.drop_reports(shorter)
    assert numbers(queues) == [3, 4, 5, 6, 7]
    queues.drop_reports(longer)
    assert numbers(queues) == [5, 6, 7]


def test_reports_that_came_after_a_wipe_are_not_dropped_for_those_before(queues: Queues) -> None:
    queues.report([{"n": 1}, {"n": 2}])
    read = queues.read_reports(2)
    wiped(queues)
    queues.report([{"n": 3}, {"n": 4}])

    queues.drop_reports(read)

    assert numbers(queues) == [3, 4]


def test_what_is_reported_does_not_change_afterwards(queues: Queues) -> None:
    entry = {"n": 1}
    queues.report([entry])

    entry["n"] = 2

    assert queues.read_reports(1).entries == [{"n": 1}]


def test_past_the_bound_the_oldest_reports_are_dropped(queues: Queues) -> None:
    queues.report([{"n": n} for n in range(MOST_REPORTS + 3)])

    kept = queues.read_reports(MOST_REPORTS + 3).entries

    assert len(kept) == MOST_REPORTS
    assert (kept[0], kept[-1]) == ({"n": 3}, {"n": MOST_REPORTS + 2})


def test_reports_that_fell_out_at_the_bound_are_not_dropped_once_more(queues: Queues) -> None:
    queues.report([{"n": n} for n in range(3)])
    read = queues.read_reports(2)
    queues.report([{"n": n} for n in range(3, MOST_REPORTS + 1)])

    queues.drop_reports(read)

    assert numbers(queues)[:2] == [2, 3]
