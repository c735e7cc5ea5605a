"""A platform under load and under fire: at the end everything adds up, to the row and to the byte.

`make soak SECONDS=1200` plays it for long; `make test` plays a minute of it.
"""

from __future__ import annotations

import hashlib
import json
import random
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import redis
from soak_clients import Clients, Ledger, Promise, soaking
from soak_faults import Killer, Poisoner
from whole_platform import WholePlatform, eventually

from genplatform.catalog import Catalog, JobRow, ShardRow, Transaction
from genplatform.domain.retry import RetryPolicy
from genplatform.domain.states import TERMINAL_JOB_STATES, ShardState
from genplatform.queues import keys
from genplatform.services.verify import verify
from genplatform.store import Store

pytestmark = [pytest.mark.platform, pytest.mark.soak]

DRAIN_SECONDS = 300.0
# A worker whose word is not taken tries for two minutes before it gives up.
GIVEN_UP_SECONDS = 240.0
TENANT = "default"


@dataclass(frozen=True)
class Soaked:
    """What was promised, what was done to the platform, and what its record then held of it."""

    ledger: Ledger
    jobs: dict[str, JobRow]
    shards: dict[str, list[ShardRow]]
    events: dict[str, Counter[str]]
    folders: dict[str, Path]


@pytest.fixture(scope="module")
def soaked(platform: WholePlatform, request: pytest.FixtureRequest) -> Soaked:
    """The platform after a soak, once everything is over and the dust has settled."""
    seconds = request.config.getoption("--soak-seconds")
    seed = request.config.getoption("--soak-seed") or random.SystemRandom().randrange(1_000_000)
    print(f"\nsoaking for {seconds} s with --soak-seed={seed}")
    ledger = Ledger()
    clients = Clients(platform, ledger, seed, f"soak-{seed}")
    poisoner = Poisoner(platform, ledger)
    begun = time.monotonic()
    # Poison goes on until every poison job is over: it is its job's nature and no fault of the surroundings.
    with soaking(clients, Killer(platform, ledger, seed)) as over:
        poison_over = threading.Event()
        poison = threading.Thread(target=poisoner, args=(poison_over,), daemon=True)
        poison.start()
        over.wait(seconds)
    try:
        eventually(lambda: all_over(platform, ledger), DRAIN_SECONDS)
    except AssertionError as error:
        raise AssertionError(f"{error}: {still_open(platform)}\n{platform.logs()}") from error
    finally:
        poison_over.set()
        poison.join()
    soaked = read(platform, ledger)
    tell(soaked, seconds, time.monotonic() - begun)
    return soaked


def all_over(platform: WholePlatform, ledger: Ledger) -> bool:
    with platform.client() as client:
        return not client.jobs(limit=1)["jobs"] and set(ledger.promises) <= over_ids(platform)


def still_open(platform: WholePlatform) -> list[tuple[Any, ...]]:
    return [
        (job["id"], job["kind"], job["state"], job["reason"], job["progress"], len(job["runs"]))
        for job in platform.json("ps", "-l", "1000")["jobs"]
    ]


def over_ids(platform: WholePlatform) -> set[str]:
    catalog = Catalog(platform.settings.database)
    with catalog.read() as tx:
        found = {row.job_id for row in tx.jobs.in_states(TERMINAL_JOB_STATES, limit=1_000_000)}
    catalog.close()
    return found


def read(platform: WholePlatform, ledger: Ledger) -> Soaked:
    catalog = Catalog(platform.settings.database)
    with catalog.read() as tx:
        jobs = {job_id: tx.jobs.by_id(TENANT, job_id) for job_id in ledger.promises}
        there = {job_id: job for job_id, job in jobs.items() if job is not None}
        shards = {job_id: tx.shards.of_job(job.id) for job_id, job in there.items()}
        events = {job_id: events_of(tx, job) for job_id, job in there.items()}
    catalog.close()
    outputs = Path(urlsplit(platform.settings.store).path) / "outputs" / TENANT
    return Soaked(ledger, there, shards, events, {job_id: outputs / job_id for job_id in there})


def events_of(tx: Transaction, job: JobRow) -> Counter[str]:
    return Counter(e.type for e in tx.events.page(job.id, after=0, limit=1_000_000))


def of(soaked: Soaked, kind: str) -> list[tuple[Promise, JobRow]]:
    return [(p, soaked.jobs[p.job_id]) for p in soaked.ledger.promises.values() if p.kind == kind]


def tell(soaked: Soaked, seconds: float, whole: float) -> None:
    """Print what happened: counts, faults, refusals, and work that was done in vain."""
    states = Counter((p.kind, soaked.jobs[p.job_id].state) for p in soaked.ledger.promises.values())
    claims = sum(s.claim for shards in soaked.shards.values() for s in shards)
    published = sum(s.state == ShardState.PUBLISHED for shards in soaked.shards.values() for s in shards)
    runs = sum(job.run for job in soaked.jobs.values())
    print(f"soaked {seconds} s, {whole:.0f} s until all was over and read")
    print(f"jobs: {len(soaked.jobs)}; " + ", ".join(f"{k} {s} {n}" for (k, s), n in sorted(states.items())))
    print("happened: " + ", ".join(f"{what} {n}" for what, n in sorted(soaked.ledger.happened.items())))
    print(f"shards: {published} published of {claims} claims, {claims - published} claims in vain; {runs} runs")
    print(f"late publications refused: {sum(e['refused'] for e in soaked.events.values())}")


def test_nobody_was_told_what_is_not_so(soaked: Soaked) -> None:
    assert soaked.ledger.broken == []


def test_every_acknowledged_job_is_there_once_and_over(platform: WholePlatform, soaked: Soaked) -> None:
    promised = soaked.ledger.promises
    catalog = Catalog(platform.settings.database)
    with catalog.read() as tx:
        rows = tx.jobs.page(TENANT, states=(), queue=None, before=None, limit=1_000_000)
    catalog.close()
    prefixes = {soaked.jobs[job_id].name.rsplit("-", 2)[0] for job_id in promised if job_id in soaked.jobs}

    mine = [row for row in rows if row.name.rsplit("-", 2)[0] in prefixes]

    assert len(promised) >= 30
    assert Counter(row.job_id for row in mine) == Counter(promised.keys())
    assert all(row.job_state in TERMINAL_JOB_STATES for row in mine)


def test_jobs_end_as_they_must(soaked: Soaked) -> None:
    ordinary = of(soaked, "generate") + of(soaked, "train")

    wrong = [
        (promise, job.state, job.error_message)
        for promise, job in ordinary
        if job.state != ("cancelled" if promise.cancelled else "succeeded")
    ]

    assert wrong == []


def test_each_item_of_a_job_that_succeeded_is_published_once_and_is_what_its_digest_says(soaked: Soaked) -> None:
    for promise, job in of(soaked, "generate"):
        if job.state != "succeeded":
            continue
        folder = soaked.folders[job.job_id]
        items = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
        assert [item["index"] for item in items] == list(range(promise.items)), job.job_id
        assert all(sha256(folder / item["path"]) == item["sha256"] for item in items), job.job_id
        assert soaked.events[job.job_id]["succeeded"] == 1


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_nothing_was_published_after_a_cancel_was_acknowledged(soaked: Soaked) -> None:
    cancelled = [(p, job) for p, job in of(soaked, "generate") if p.cancelled]

    assert [(p.job_id, job.done) for p, job in cancelled] == [(p.job_id, p.published_at_cancel) for p, _ in cancelled]


def test_poison_is_dead_after_as_many_tries_as_are_allowed_and_no_other_job_of_it(soaked: Soaked) -> None:
    dead = of(soaked, "poison")

    assert {(job.state, job.error_code) for _, job in dead} <= {("failed", "poisoned")}
    assert {s.failures for _, job in dead for s in soaked.shards[job.job_id]} <= {RetryPolicy().max + 1}


def test_no_file_is_left_that_no_row_refers_to(soaked: Soaked) -> None:
    def leftovers() -> dict[str, set[str]]:
        found = {}
        for job_id, folder in soaked.folders.items():
            kept = {s.folder for s in soaked.shards[job_id] if s.state == ShardState.PUBLISHED} | {"manifest.jsonl"}
            there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
            if there - kept:
                found[job_id] = there - kept
        return found

    eventually(lambda: not leftovers())
    assert leftovers() == {}


def test_the_record_keeps_its_laws_and_the_store_holds_what_it_refers_to(
    platform: WholePlatform, soaked: Soaked
) -> None:
    catalog = Catalog(platform.settings.database)

    found = verify(catalog, Store(platform.settings.store), deep=True)

    catalog.close()
    assert found == []


def test_no_lease_and_no_hint_of_them_is_left(platform: WholePlatform, soaked: Soaked) -> None:
    def held() -> set[str]:
        server = redis.Redis.from_url(platform.settings.redis)
        names = {name.decode().split("/")[1] for name in server.zrange(keys.LEASES, 0, -1)}
        names |= {name.decode().split("/")[1] for name in server.hkeys(keys.STOPS)}
        return names & set(soaked.jobs)

    eventually(lambda: not held())
    assert held() == set()


def test_no_worker_is_left_but_those_that_idle(platform: WholePlatform, soaked: Soaked) -> None:
    def left() -> list[str]:
        mine = [p.info for p in psutil.process_iter(["pid", "status", "cmdline"]) if platform.owns(p)]
        titles = {str(p["pid"]): f"{p['status']} {' '.join(p['cmdline'] or [])}" for p in mine}
        marks = (psutil.STATUS_STOPPED, "RunActor", "PoolActor")
        return [f"{pid} {title}" for pid, title in titles.items() if any(mark in title for mark in marks)]

    with suppress(AssertionError):
        eventually(lambda: not left(), GIVEN_UP_SECONDS)
    assert left() == [], platform.logs()


def test_the_platform_is_well(platform: WholePlatform, soaked: Soaked) -> None:
    def state() -> Any:
        return platform.json("status")["state"]

    assert eventually(lambda: state() == "up")


def test_the_faults_did_happen(soaked: Soaked) -> None:
    kinds = ("killed dispatcher", "killed api", "killed redis", "killed pool worker", "flushed redis")

    assert {kind: soaked.ledger.happened[kind] for kind in kinds if not soaked.ledger.happened[kind]} == {}
    assert soaked.ledger.happened["submitted again"] > 0
