"""Pruning takes what ended long ago and nothing that anything that stays refers to, on each database."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from lived_record import live
from pruning import DAY, ended, failed, newest, pruned, rows, there
from small_platform import TENANT, SmallPlatform, train

from genplatform.catalog import Catalog, problems
from genplatform.catalog.prune import KEYS_KEPT
from genplatform.errors import BadSpec, Conflict, GenctlError, NotFound
from genplatform.services import cancel, models, retry, submit
from genplatform.services.verify import verify


@pytest.fixture
def p(catalog_url: str, tmp_path: Path) -> Iterator[SmallPlatform]:
    made = SmallPlatform(catalog_url, tmp_path)
    yield made
    made.close()


def test_what_ended_long_ago_goes_with_all_that_belongs_to_it_and_the_rest_stays(p: SmallPlatform) -> None:
    ids = live(p)
    before = rows(p)
    p.clock.go(31 * DAY)
    last = newest(p)

    done = pruned(p)

    gone = {ids[name] for name in ("trained", "made", "bad", "broken", "unwanted")}
    assert there(p) == {*ids.values(), last} - gone
    assert done.jobs == 5
    assert done.needed == 0
    left = rows(p)
    assert {name: before[name] - left[name] for name in ("runs", "shards", "artifacts", "logs")} == {
        "runs": 4,
        "shards": 6,
        "artifacts": 2,
        "logs": 2,
    }
    for name in ("runs", "shards", "artifacts", "logs", "needs"):
        assert done.rows[name] == before[name] - left[name]
    assert verify(p.w.catalog) == []


def test_models_stay_and_so_does_what_an_endpoint_serves(p: SmallPlatform) -> None:
    live(p)
    p.clock.go(31 * DAY)
    newest(p)
    before = {m["name"] for m in models.ls(p.w, TENANT)["models"]}

    pruned(p)

    assert {m["name"] for m in models.ls(p.w, TENANT)["models"]} == before == {"noise", "trained"}
    assert models.show(p.w, TENANT, "trained@1")["job_id"] is not None
    assert rows(p)["endpoints"] == 1


def test_what_ended_since_then_stays(p: SmallPlatform) -> None:
    old = ended(p, train("old"))
    p.clock.go(20 * DAY)
    young = ended(p, train("young"))
    p.clock.go(11 * DAY)
    newest(p)

    pruned(p)

    assert old not in there(p)
    assert young in there(p)


def test_what_an_open_job_needs_stays_down_a_chain_of_any_length(p: SmallPlatform) -> None:
    first = ended(p, train("first"))
    second = ended(p, train("second", "needs: [first]\n"))
    third = p.one(train("third", "needs: [second]\n"))
    alone = ended(p, train("alone"))
    p.clock.go(31 * DAY)
    newest(p)

    done = pruned(p)
    kept = there(p)
    p.trainer(p.open(third)).publish()
    p.clock.go(31 * DAY)
    later = pruned(p)

    assert {first, second, third} <= kept
    assert alone not in kept
    assert (done.jobs, done.needed) == (1, 2)
    assert (later.jobs, later.needed) == (3, 0)
    assert not {first, second, third} & there(p)


def test_what_an_open_job_does_again_stays_with_its_checkpoints(p: SmallPlatform) -> None:
    first = failed(p, "t")
    (again,) = [job["id"] for job in retry.retry(p.w, TENANT, first)["jobs"]]
    p.trainer(p.open(again)).fail()
    (third,) = [job["id"] for job in retry.retry(p.w, TENANT, again)["jobs"]]
    p.clock.go(31 * DAY)
    newest(p)

    assert pruned(p).jobs == 0
    cancel.cancel(p.w, TENANT, third)
    p.clock.go(31 * DAY)

    assert pruned(p).jobs == 3


def test_what_a_young_job_needs_stays_although_both_have_ended(p: SmallPlatform) -> None:
    """Done again, it would need it."""
    old = ended(p, train("old"))
    p.clock.go(31 * DAY)
    young = ended(p, train("young", "needs: [old]\n"))
    newest(p)

    done = pruned(p)

    assert (done.jobs, done.needed) == (0, 1)
    assert {old, young} <= there(p)


def test_so_many_that_ended_last_stay_however_old(p: SmallPlatform) -> None:
    ids = []
    for n in range(5):
        ids.append(ended(p, train(f"t{n}")))
        p.clock.go(1)
    p.clock.go(31 * DAY)
    newest(p)

    assert pruned(p, keep=5).jobs == 0
    assert pruned(p, keep=9).jobs == 0
    pruned(p, keep=2)

    assert set(ids) & there(p) == set(ids[3:])


def test_a_rehearsal_says_what_would_go_and_removes_nothing(p: SmallPlatform) -> None:
    live(p)
    p.clock.go(31 * DAY)
    newest(p)
    before = rows(p)

    said = pruned(p, dry_run=True)
    untouched = rows(p)
    done = pruned(p)

    assert untouched == before
    assert (said.jobs, said.needed) == (done.jobs, done.needed)
    for name in ("runs", "shards", "artifacts", "logs", "events"):
        assert said.rows[name] == done.rows[name] > 0


def test_pruning_again_removes_nothing_more(p: SmallPlatform) -> None:
    live(p)
    p.clock.go(31 * DAY)
    newest(p)
    pruned(p)
    before = rows(p)

    done = pruned(p)

    assert (done.jobs, sum(done.rows.values())) == (0, 0)
    assert rows(p) == before


def test_the_newest_job_stays_so_that_its_inside_key_is_nobodys_again(p: SmallPlatform) -> None:
    last = ended(p, train("last"))
    pk = p.row(last).id
    p.clock.go(31 * DAY)

    assert pruned(p).jobs == 0
    assert p.row(p.one(train("next"))).id == pk + 1
    assert pruned(p).jobs == 1


def test_a_job_of_very_many_lines_and_shards_goes_slice_by_slice(
    p: SmallPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genplatform.catalog.prune.ROWS_AT_ONCE", 3)
    live(p)
    p.clock.go(31 * DAY)
    newest(p)
    pauses: list[int] = []
    sizes: list[Counter[str]] = [rows(p)]

    def look() -> None:
        pauses.append(1)
        sizes.append(rows(p))

    pruned(p, pause=look)

    steps = [a["events"] + a["logs"] - b["events"] - b["logs"] for a, b in pairwise(sizes)]
    assert 0 < max(steps) <= 3
    assert len(pauses) > 4
    assert verify(p.w.catalog) == []


@pytest.mark.parametrize("stop_at", range(1, 6))
def test_pruning_that_is_interrupted_leaves_a_sound_record(
    p: SmallPlatform, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    monkeypatch.setattr("genplatform.catalog.prune.ROWS_AT_ONCE", 3)
    live(p)
    p.clock.go(31 * DAY)
    newest(p)
    paused = 0

    def pause() -> None:
        nonlocal paused
        paused += 1
        if paused == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pruned(p, pause=pause)

    assert verify(p.w.catalog) == []


# Keys of requests.


def test_a_late_repetition_of_a_request_whose_jobs_were_pruned_makes_nothing(p: SmallPlatform) -> None:
    text = train("once")
    (once,) = p.submit(text, key="k")
    p.trainer(p.open(once)).publish()
    p.clock.go(2 * DAY)
    last = newest(p)

    pruned(p, days=1)
    with pytest.raises(Conflict, match="have been pruned since") as raised:
        p.submit(text, key="k")

    assert "new key" in raised.value.hint
    assert there(p) == {last}
    assert verify(p.w.catalog) == []


def test_a_request_of_which_jobs_are_left_is_answered_with_those(p: SmallPlatform) -> None:
    text = train("a") + "---\n" + train("b")
    a, b = p.submit(text, key="k")
    p.trainer(p.open(a)).publish()
    p.clock.go(31 * DAY)
    newest(p)

    pruned(p)

    assert p.submit(text, key="k") == [b]
    assert verify(p.w.catalog) == []


def test_a_key_goes_with_its_last_job_once_nobody_can_be_repeating_it_any_more(p: SmallPlatform) -> None:
    (old,) = p.submit(train("old"), key="old")
    p.trainer(p.open(old)).publish()
    p.clock.go(2 * DAY)
    newest(p)

    first = pruned(p, days=1)
    kept = rows(p)["submissions"]
    p.clock.go(KEYS_KEPT)
    second = pruned(p, days=1)

    assert (first.rows["submissions"], kept) == (0, 1)
    assert (second.rows["submissions"], rows(p)["submissions"]) == (1, 0)


# Beside others.


def test_a_job_that_is_needed_after_it_was_looked_at_is_kept(p: SmallPlatform) -> None:
    old, other = ended(p, train("old")), failed(p, "other")
    p.clock.go(31 * DAY)
    newest(p)
    new: list[str] = []

    def meanwhile() -> None:
        if not new:
            new.append(p.one(train("new", "needs: [old]\n")))
            new.extend(job["id"] for job in retry.retry(p.w, TENANT, other)["jobs"])

    done = pruned(p, pause=meanwhile)

    assert (done.jobs, done.needed) == (0, 2)
    assert {old, other, *new} <= there(p)
    assert verify(p.w.catalog) == []


def test_a_job_that_somebody_holds_is_passed_over(postgres_url: str, tmp_path: Path) -> None:
    """On PostgreSQL alone: on SQLite nobody else writes meanwhile."""
    p = SmallPlatform(postgres_url, tmp_path)
    held, free = failed(p, "held"), failed(p, "free")
    p.clock.go(31 * DAY)
    newest(p)

    with p.w.catalog.write() as tx:
        tx.jobs.by_id(TENANT, held, lock=True)
        pruned(p)

    assert held in there(p)
    assert free not in there(p)
    p.close()


def test_nothing_is_held_between_two_steps(p: SmallPlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genplatform.catalog.prune.JOBS_AT_ONCE", 1)
    live(p)
    p.clock.go(31 * DAY)
    newest(p)
    impatient = Catalog(p.w.catalog.url, busy_seconds=0)
    wrote: list[float] = []

    def write() -> None:
        with impatient.write() as tx:
            tx.leaders.tell(1, {})
        wrote.append(1)

    pruned(p, pause=write)

    impatient.close()
    assert len(wrote) > 2


def test_beside_those_who_submit_retry_and_report_nothing_is_lost_and_nobody_fails(p: SmallPlatform) -> None:
    for n in range(10):
        ended(p, train(f"old{n}"))
    bad = [failed(p, f"bad{n}") for n in range(10)]
    p.clock.go(31 * DAY)
    newest(p)
    over = threading.Event()
    made: list[str] = []
    refused: list[GenctlError] = []

    def ask(make: Callable[[int], list[dict[str, Any]]]) -> None:
        n = 0
        while not over.is_set() or n < 10:
            try:
                made.extend(job["id"] for job in make(n % 10))
            except (BadSpec, NotFound) as error:
                refused.append(error)  # what it names is gone
            n += 1

    def needing(n: int) -> list[dict[str, Any]]:
        text = train(f"new{n}", f"needs: [old{n}]\n").encode()
        return list(submit.submit(p.w, TENANT, text, "application/yaml")["jobs"])

    def again(n: int) -> list[dict[str, Any]]:
        return list(retry.retry(p.w, TENANT, bad[n])["jobs"])

    errors: list[BaseException] = []

    def guarded(make: Callable[[int], list[dict[str, Any]]]) -> None:
        try:
            ask(make)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(make,)) for make in (needing, again)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        pruned(p)
    over.set()
    for thread in threads:
        thread.join()

    assert errors == []
    assert set(made) <= there(p)
    assert problems(p.w.catalog.engine) == []
    with p.w.catalog.read() as tx:
        needy = [tx.jobs.by_id(TENANT, job_id) for job_id in made]
        for row in needy:
            assert row is not None
            if row.name.startswith("new"):
                assert len(tx.jobs.needs_of(row.id)) == 1
            else:
                assert tx.jobs.by_id(TENANT, row.retry_of or "") is not None
