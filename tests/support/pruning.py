"""Short words for tests of pruning: what is done, what is there, and jobs that have ended."""

from __future__ import annotations

from collections import Counter
from typing import Any

import sqlalchemy as sa
from small_platform import TENANT, SmallPlatform, train

from genplatform.catalog import tables
from genplatform.catalog.prune import Limits
from genplatform.services.prune import Account, prune

DAY = 86_400.0


def pruned(p: SmallPlatform, days: float = 30, **options: Any) -> Account:
    limits = Limits(p.clock.now - days * DAY, options.pop("keep", 0))
    return prune(p.w.catalog, limits, p.clock.now, **options)


def there(p: SmallPlatform) -> set[str]:
    with p.w.catalog.read() as tx:
        return {row.job_id for row in tx.jobs.page(TENANT, states=(), queue=None, before=None, limit=1000)}


def rows(p: SmallPlatform) -> Counter[str]:
    with p.w.catalog.engine.connect() as connection:
        return Counter(
            {
                t.name: connection.scalar(sa.select(sa.func.count()).select_from(t))
                for t in tables.metadata.sorted_tables
            }
        )


def ended(p: SmallPlatform, text: str) -> str:
    """Submit a train job and bring it to its end."""
    job_id = p.one(text)
    p.trainer(p.open(job_id)).publish()
    return job_id


def failed(p: SmallPlatform, name: str) -> str:
    job_id = p.one(train(name))
    p.trainer(p.open(job_id)).fail()
    return job_id


def newest(p: SmallPlatform) -> str:
    """Add a job that is newer than all; the newest one stays in any case."""
    return p.one(train("newest"))
