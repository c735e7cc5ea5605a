"""Jobs of one item each through a whole local platform: HTTP, catalog, dispatcher, Ray pool, fenced publication."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

from bench.figures import Figure
from bench.places import platform

from genctl import Client
from genplatform.catalog import Catalog

TITLE = "a thousand jobs of one item each, from the submit until the last of them has succeeded"
ROUNDS, JOBS = 5, 1_000
LONGEST = 300.0
LOOK = 0.05


def measure(*, quick: bool) -> Iterator[Figure]:
    """Yield seconds and rates, for jobs that come in one request and for jobs that come one by one."""
    rounds, jobs = (1, 20) if quick else (ROUNDS, JOBS)
    with platform() as settings, Client(settings=settings) as client:
        catalog = Catalog(settings.database)
        settle(client, catalog, "warm", min(jobs, 20), together=True)
        for together, words in ((True, "in one request"), (False, "one by one")):
            seconds = []
            for number in range(rounds):
                seconds.append(settle(client, catalog, f"{'t' if together else 'o'}{number}", jobs, together=together))
            what = f"{jobs:,} jobs of one item, submitted {words}"
            yield Figure(what, seconds, "s", at_most=10 if jobs == JOBS else None)
            yield Figure(f"{what}, a second", [jobs / took for took in seconds], "jobs/s")
        catalog.close()


def settle(client: Client, catalog: Catalog, name: str, jobs: int, *, together: bool) -> float:
    """Submit the jobs; return how long it took until all had succeeded."""
    documents = [
        {"kind": "generate", "name": f"{name}-{number}", "model": "noise@1", "count": 1, "seed": number}
        for number in range(jobs)
    ]
    begun = time.perf_counter()
    if together:
        client.submit_many(documents)
    else:
        for document in documents:
            client.submit(json.dumps(document))
    while time.perf_counter() - begun < LONGEST:
        with catalog.read() as tx:
            if not tx.jobs.counts():
                took = time.perf_counter() - begun
                break
        time.sleep(LOOK)
    else:
        raise RuntimeError(f"{jobs} jobs were not over after {LONGEST:g} s.")
    with catalog.read() as tx:
        rows = tx.jobs.page("default", states=(), queue=None, before=None, limit=jobs)
    if {row.state for row in rows} != {"succeeded"} or len({row.run for row in rows}) != 1:
        raise RuntimeError("Not every job succeeded in its first run.")
    return took
