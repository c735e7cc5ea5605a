"""Two real dispatchers: the other leads when the leader is killed, and one that stood still changes nothing."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from long_work import GENERATE, TRAIN, items_made_once, model_digest, submitted
from second_dispatcher import SecondDispatcher
from whole_platform import WholePlatform, eventually, kill

from genplatform.catalog.leaders import Leader
from genplatform.domain.job import DEFAULT_TENANT
from genplatform.domain.times import LEADER_LEASE_SECONDS

pytestmark = [pytest.mark.platform, pytest.mark.timeout(600)]

# Ten seconds are promised; a machine that does other things besides has this long.
TAKEOVER_SECONDS = 30
TRIES = 5
FEW = 20
SMALL = f"kind: generate\nname: {{name}}\nmodel: noise@1\ncount: {FEW}\n"


@pytest.fixture(scope="module")
def second(platform: WholePlatform) -> Iterator[SecondDispatcher]:
    """A dispatcher beside the platform's own, for all tests of this module; then the platform's own leads again."""
    with SecondDispatcher(platform) as made:
        yield made
    eventually(lambda: leads(platform.leader()) == platform.part("dispatcher"))
    eventually(platform.is_up)


def leads(leader: Leader) -> int:
    """The pid of who leads: its name holds it."""
    return int(leader.holder.split(":")[-2])


def taken_over(platform: WholePlatform, before: Leader) -> Leader:
    """Wait for the next term."""

    def after() -> Leader | None:
        leader = platform.leader()
        return leader if leader.term > before.term else None

    return eventually(after)


def holds_no_lock(platform: WholePlatform) -> bool:
    """Whether nobody holds SQLite's write lock."""
    database = sqlite3.connect(platform.settings.home / "catalog.db", timeout=0.5, isolation_level=None)
    try:
        database.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return False
    finally:
        database.close()
    return True


def stood_still_in_its_round(platform: WholePlatform, pid: int) -> list[str]:
    """Stop the leader when it has begun to start jobs; their ids.

    It stands where another can lead in its place: within a transaction it would stop whoever writes.
    """

    def begun(job: str) -> bool:
        with platform.catalog.read() as tx:
            row = tx.jobs.by_id(DEFAULT_TENANT, job)
        return row is not None and row.run > 0

    for n in range(TRIES):
        small = [SMALL.format(name=f"stood-still-{n}-{m}") for m in range(3)]
        with platform.client() as client:
            jobs = client.submit("---\n".join([TRAIN.format(name=f"stood-still-{n}"), *small]))
        ids = [str(job["id"]) for job in jobs]
        eventually(partial(begun, ids[0]), every=0.001)
        os.kill(pid, signal.SIGSTOP)
        if holds_no_lock(platform):
            return ids
        os.kill(pid, signal.SIGCONT)
    raise AssertionError(f"In {TRIES} tries the leader stood still within a transaction each time.")


def test_the_other_leads_when_the_leader_is_killed_and_work_goes_on(
    platform: WholePlatform,
    undisturbed: str,
    second: SecondDispatcher,
    record_property: Callable[[str, object], None],
) -> None:
    train = submitted(platform, TRAIN.format(name="two-dispatchers"))
    record_property("trained_at_kill", platform.partway(train))
    first = platform.leader()
    assert leads(first) == platform.part("dispatcher")

    with platform.unattended():
        killed_at = time.time()
        kill(leads(first))
        generate = submitted(platform, GENERATE.format(name="nobody-leads"))
        other = taken_over(platform, first)
        platform.partway(generate)
    trained, generated = platform.finished(train, 300), platform.finished(generate, 300)

    seconds = other.expires_at - LEADER_LEASE_SECONDS - killed_at
    record_property("takeover_seconds", round(seconds, 2))
    assert (leads(other), other.term) == (second.pid, first.term + 1)
    assert seconds < TAKEOVER_SECONDS
    assert (trained["state"], generated["state"]) == ("succeeded", "succeeded"), (trained, generated, platform.logs())
    assert [run["number"] for job in (trained, generated) for run in job["runs"]] == [1, 1]
    assert model_digest(platform, trained) == undisturbed
    items_made_once(platform, generated)


def test_the_one_that_was_killed_comes_back_and_stands_by(platform: WholePlatform, second: SecondDispatcher) -> None:
    term = platform.leader().term

    assert eventually(platform.is_up)
    done = platform.finished(submitted(platform, SMALL.format(name="stands-by")))

    assert done["state"] == "succeeded"
    assert platform.part("dispatcher") != second.pid
    assert (leads(platform.leader()), platform.leader().term) == (second.pid, term)


def test_a_leader_that_stood_still_steps_down_and_nothing_is_made_twice(
    platform: WholePlatform,
    undisturbed: str,
    second: SecondDispatcher,
    record_property: Callable[[str, object], None],
) -> None:
    stale = platform.leader()
    assert leads(stale) == second.pid
    train, *small = stood_still_in_its_round(platform, second.pid)

    other = taken_over(platform, stale)
    # Both believe that they lead: what the one was about to do is still before it.
    os.kill(second.pid, signal.SIGCONT)
    trained = platform.finished(train, 300)
    made = [platform.finished(job, 300) for job in small]

    assert (leads(other), other.term) == (platform.part("dispatcher"), stale.term + 1)
    record_property("runs", ",".join(f"{r['state']}/{r['cause']}" for r in trained["runs"]))
    assert {job["state"] for job in (trained, *made)} == {"succeeded"}, (trained, made, platform.logs())
    assert model_digest(platform, trained) == undisturbed
    for job in made:
        items_made_once(platform, job, FEW)
    assert '"leadership_lost"' in second.log.read_text()
    assert platform.leader().term == other.term
