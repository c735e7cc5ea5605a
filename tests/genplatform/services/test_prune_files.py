"""Pruning with files takes what the jobs kept under their own names in the store, after their rows, and no model."""

from __future__ import annotations

import pytest
from lived_record import live
from pruning import DAY, newest, pruned, rows, there
from small_platform import TENANT, SmallPlatform, until

from genplatform.domain import layout
from genplatform.domain.keys import JobKey
from genplatform.errors import Unavailable
from genplatform.services import finish
from genplatform.services.verify import verify
from genplatform.store import Store


def test_with_files_what_the_jobs_kept_in_the_store_goes_and_no_model(p: SmallPlatform) -> None:
    ids = live(p)
    p.clock.go(31 * DAY)
    newest(p)
    kept = set(p.w.store.list(layout.outputs(JobKey(TENANT, ids["half"])))) | set(p.w.store.list("models"))

    done = pruned(p, store=p.w.store)

    assert set(p.w.store.list()) == kept
    assert len(kept) == 4
    assert (done.folders, done.left) == (2, [])
    assert verify(p.w.catalog, p.w.store, deep=True) == []


def test_without_being_asked_no_file_goes(p: SmallPlatform) -> None:
    live(p)
    p.clock.go(31 * DAY)
    newest(p)
    before = p.w.store.list()

    pruned(p)

    assert p.w.store.list() == before


def test_files_that_cannot_be_removed_are_named(p: SmallPlatform) -> None:
    class Stuck(Store):
        def remove(self, key: str) -> None:
            raise Unavailable("It is stuck.")

    ids = live(p)
    p.clock.go(31 * DAY)
    newest(p)

    done = pruned(p, store=Stuck(p.w.store.url))

    assert done.left == [layout.job(JobKey(TENANT, ids["trained"])), layout.outputs(JobKey(TENANT, ids["made"]))]


def test_a_store_that_cannot_be_written_is_found_out_before_any_row_goes(p: SmallPlatform) -> None:
    class Away(Store):
        def check(self) -> None:
            raise Unavailable("It is away.")

    live(p)
    p.clock.go(31 * DAY)
    newest(p)
    before = rows(p)

    with pytest.raises(Unavailable, match="away"):
        pruned(p, store=Away(p.w.store.url))

    assert rows(p) == before


def test_who_still_holds_a_pruned_job_has_nothing_to_sweep(p: SmallPlatform) -> None:
    """A dispatcher that remembers the job of a while ago."""
    g, worker = p.generating()
    worker.work()
    until(lambda: p.state(g) == "succeeded", lambda: finish.finish(p.w, p.term(), [p.row(g)]))
    row = p.row(g)
    newest(p)
    p.clock.go(1)

    pruned(p, days=0)

    assert g not in there(p)
    assert finish.leftovers(p.w, row.id, row.key) == []
    assert p.w.store.list(layout.outputs(row.key)) != []
