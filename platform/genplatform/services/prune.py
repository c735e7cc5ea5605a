"""Prune: jobs that ended long ago go from the record, and on wish their files from the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from genplatform.catalog import Catalog
from genplatform.catalog.prune import Limits, Pruned, preview
from genplatform.catalog.prune import prune as remove
from genplatform.domain import layout
from genplatform.domain.keys import JobKey
from genplatform.errors import GenctlError
from genplatform.store import Store


@dataclass
class Account:
    """What was pruned, or would be: rows by table, jobs that stay because others need them, and the files.

    `left` are folders whose rows are gone and whose files could not be removed.
    """

    rows: Counter[str] = field(default_factory=Counter)
    jobs: int = 0
    needed: int = 0
    folders: int = 0
    left: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return the account as it travels."""
        rows = {name: count for name, count in sorted(self.rows.items()) if name != "jobs"}
        return {"jobs": self.jobs, "rows": rows, "needed": self.needed, "folders": self.folders, "left": self.left}


def prune(
    catalog: Catalog,
    limits: Limits,
    now: float,
    *,
    store: Store | None = None,
    dry_run: bool = False,
    pause: Callable[[], object] = lambda: None,
) -> Account:
    """Remove ended jobs of long ago; with a `store` also their checkpoints, sheets and outputs, never a model.

    With `dry_run` nothing is removed, and the account says what would be.
    """
    if dry_run:
        return _accounted(preview(catalog.engine, limits), None)
    if store is not None:
        store.check()  # before any row goes by which the files could be found
    return _accounted(remove(catalog.engine, limits, now, pause), store)


def _accounted(steps: Iterable[Pruned], store: Store | None) -> Account:
    account = Account()
    for step in steps:
        account.rows.update(step.rows)
        account.jobs += len(step.jobs)
        account.needed += step.needed
        if store is not None:
            for key in step.jobs:
                _remove_files(store, key, account)
    return account


def _remove_files(store: Store, key: JobKey, account: Account) -> None:
    """Remove what lies in the store under a job's own name; a model lies under its digest's."""
    for folder in (layout.job(key), layout.outputs(key)):
        try:
            if store.exists(folder):
                store.remove(folder)
                account.folders += 1
        except GenctlError:
            account.left.append(folder)
