"""A long history and a long line: what is asked again and again, the dispatcher's round, its memory, and a rebuild."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import count
from statistics import median

import psutil
import sqlalchemy as sa
from bench.figures import Figure, ratio
from bench.places import DATABASES, database, folder, redis

from genplatform.dispatch.dispatcher import Dispatcher
from genplatform.queues.redis_queues import RedisQueues
from genplatform.services import cancel, health, jobs, measures, reconcile, submit

# `bench.places` has put the tests' support on the path.
from dispatched import Dispatched  # isort: skip
from history import NOW, Past, fill  # isort: skip
from small_platform import API_URL, TENANT, generate, train  # isort: skip

TITLE = "a history of 1,000,000 jobs against one of 1,000, a line of 100,000, and a rebuild after FLUSHALL"
OPEN = 60
SERIAL = count()
# Of the line that is lost, so many were known before: those that run.
KNOWN = 900
GIVEN_UP_SECONDS = 120


def measure(*, quick: bool) -> Iterator[Figure]:
    """Yield the figures of both databases."""
    short, long, line = (1_500, 5_000, 2_000) if quick else (1_000, 1_000_000, 100_000)
    rounds, times = (2, 3) if quick else (7, 20)
    for kind in DATABASES:
        with platform(kind, Past(short, OPEN)) as few, platform(kind, Past(long, OPEN)) as many:
            yield from _history(kind, few, many, rounds, times)
            yield _memory(kind, many, 50 if quick else 1_000)
        with platform(kind, Past(1_000, OPEN)) as few, platform(kind, Past(1_000, line)) as many:
            yield from _line(kind, few, many, rounds, times, line)
        yield from _rebuilds(kind, rounds=2 if quick else 3, line=line, shards=500 if quick else 10_000)


@contextmanager
def platform(kind: str, past: Past) -> Iterator[Dispatched]:
    """Give a platform with a past, room for one small job, and a dispatcher over an engine moved by hand."""
    with database(kind) as url, folder() as place:
        if past.ended + past.queued:
            fill(url, past)
        made = Dispatched(url, place)
        made.clock.now = NOW + 60
        made.engine.cpus = 1.0
        try:
            yield made
        finally:
            made.close()


def _history(kind: str, few: Dispatched, many: Dispatched, rounds: int, times: int) -> Iterator[Figure]:
    for d in (few, many):
        d.tick(20)
    asked = zip(_asked(few).items(), _asked(many).values(), strict=True)
    for (name, of_few), of_many in asked:
        yield _paired(f"{name}, {kind}", of_few, of_many, rounds, times, ("short", "long"), at_most=1.5)


def _asked(d: Dispatched) -> dict[str, Callable[[], object]]:
    """Return what is measured. Each has as much to answer after any history."""
    w = d.w
    with w.catalog.read() as tx:
        old = tx.jobs.get(400).job_id
    last = next(row["id"] for row in jobs.ps(w, TENANT)["jobs"])
    return {
        "ps": lambda: jobs.ps(w, TENANT),
        "ps -a": lambda: jobs.ps(w, TENANT, all=True),
        "ps -a, a deep page": lambda: jobs.ps(w, TENANT, all=True, after="800"),
        "ps -s failed": lambda: jobs.ps(w, TENANT, states=["failed"]),
        "ps -a -q batch": lambda: jobs.ps(w, TENANT, queue="batch", all=True),
        "ps -a -q QUEUE, an empty one": lambda: jobs.ps(w, TENANT, queue="none", all=True),
        "show by id": lambda: jobs.show(w, TENANT, old),
        "show by prefix": lambda: jobs.show(w, TENANT, old[:-1]),
        "show by a name of many": lambda: jobs.show(w, TENANT, "nightly"),
        "a look of wait": lambda: (
            jobs.show(w, TENANT, last),
            jobs.events(w, TENANT, last),
            jobs.logs(w, TENANT, last),
        ),
        "status": lambda: health.status(w),
        "metrics": lambda: measures.measures(w),
        "submit": lambda: _submit(d),
        "submit and cancel": lambda: cancel.cancel(w, TENANT, _submit(d)),
        "a round of the dispatcher": lambda: d.go(0.5),
    }


def _submit(d: Dispatched) -> str:
    """Submit a job that is never first in the line."""
    text = train(f"s{next(SERIAL)}", "priority: 1\n").encode()
    made = submit.submit(d.w, TENANT, text, "application/yaml", key=f"k{next(SERIAL)}")
    return str(made["jobs"][0]["id"])


def _paired(
    what: str,
    one: Callable[[], object],
    other: Callable[[], object],
    rounds: int,
    times: int,
    names: tuple[str, str],
    at_most: float | None = None,
) -> Figure:
    """Time the two in turns; the figure is the other's median to the one's, round by round."""
    one(), other()
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(rounds):
        pairs = [(_seconds(one), _seconds(other)) for _ in range(times)]
        theirs.append(median(pair[0] for pair in pairs))
        ours.append(median(pair[1] for pair in pairs))
    return ratio(what, ours, theirs, (f"seconds, {names[1]}", f"seconds, {names[0]}"), at_most=at_most)


def _seconds(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def _memory(kind: str, d: Dispatched, ticks: int) -> Figure:
    """Compare the memory of this process after many rounds with that before them."""
    d.tick(ticks)
    samples = []
    before = _resident()
    for _ in range(3):
        for _ in range(ticks):
            d.go(0.5)
        samples.append(_resident() / before)
    return Figure(f"memory after {ticks:,}, twice and thrice as many rounds to before, {kind}", samples, at_most=1.05)


def _resident() -> float:
    gc.collect()
    return float(psutil.Process().memory_info().rss)


def _line(kind: str, few: Dispatched, many: Dispatched, rounds: int, times: int, line: int) -> Iterator[Figure]:
    tracemalloc.start()
    other = many.another("d0")
    other.tick()
    grown = tracemalloc.get_traced_memory()[0] / line
    tracemalloc.stop()
    assert len(other._line) > line - OPEN
    del other
    many.clock.go(60)
    took = _seconds(many.tick)
    yield Figure(f"a line of {line:,} taken over and held, {kind}", [took], "s", at_most=10)
    yield Figure(f"memory for each job of a line of {line:,}, {kind}", [grown], "bytes")
    few.tick()
    told = []
    while not told or told[-1]:
        told.append(_untold(many))
        many.go(0.5)
        few.go(0.5)
    yield Figure(f"rounds until each of {line:,} is told why it waits, {kind}", [len(told)], "rounds")
    for name in ("ps", "show of a queued job", "status", "metrics"):
        acts = [_of_a_line(d)[name] for d in (few, many)]
        yield _paired(f"{name}, {line:,} queued against {OPEN}, {kind}", *acts, rounds, times, (f"{OPEN}", f"{line:,}"))
    rounds_of = [lambda d=d: d.go(0.5) for d in (few, many)]
    what = f"a round of the dispatcher, {line:,} queued against {OPEN}, {kind}"
    yield _paired(what, *rounds_of, rounds, times, (f"{OPEN}", f"{line:,}"))


def _of_a_line(d: Dispatched) -> dict[str, Callable[[], object]]:
    last = next(row["id"] for row in jobs.ps(d.w, TENANT, states=["queued"])["jobs"])
    return {
        "ps": lambda: jobs.ps(d.w, TENANT),
        "show of a queued job": lambda: jobs.show(d.w, TENANT, last),
        "status": lambda: health.status(d.w),
        "metrics": lambda: measures.measures(d.w),
    }


def _untold(d: Dispatched) -> int:
    line = d.dispatcher._line
    return len(line._unsaid) + len(line._urgent)


def _rebuilds(kind: str, rounds: int, line: int, shards: int) -> Iterator[Figure]:
    """Time until all is back in Redis, and in the line, after FLUSHALL under a dispatcher that goes on."""
    found, offered, granted = [], [], []
    running = 200
    for _ in range(rounds):
        with ExitStack() as stack:
            d = stack.enter_context(platform(kind, Past(0, line)))
            queues = RedisQueues(stack.enter_context(redis()))
            d.w = replace(d.w, queues=queues)
            d.engine.cpus = running + 1.0
            d.dispatcher = Dispatcher(d.w, d.engine, "d1", API_URL)
            big = d.one(generate("big", count=64 * shards, more="priority: 1000\n"))
            _put(d, "queued", "paused", behind=KNOWN)
            d.tick()
            d.engine.cpus -= d.engine.capacity().free_cpus  # what runs goes on, and nobody starts meanwhile
            pool = d.row(big).pool
            leases = [job.run_key for job in reconcile.open_jobs(d.w) if job.kind == "train"]
            assert pool is not None
            all_offered = queues.offered(pool)
            assert all_offered >= shards
            # Nobody hears of these: neither by a hint that is lost now, nor by one that comes.
            _put(d, "paused", "queued")
            queues.server.call("FLUSHALL")
            d.clock.go(2.6)
            d.dispatcher.renew()
            d.clock.go(2.6)
            whole = sum(one.count for one in reconcile.spans(d.w).values())
            begun = time.perf_counter()
            times: dict[str, float] = {}
            while len(times) < 3:
                d.tick()
                now = time.perf_counter() - begun
                if queues.offered(pool) == all_offered:
                    times.setdefault("offered", now)
                if not queues.missing(leases):
                    times.setdefault("granted", now)
                if len(d.dispatcher._line) == whole:
                    times.setdefault("found", now)
                assert now < GIVEN_UP_SECONDS, times
            found.append(times["found"])
            offered.append(times["offered"])
            granted.append(times["granted"])
            queues.close()
    yield Figure(f"FLUSHALL: a line of {line:,} whose hints were lost, whole again, {kind}", found, "s", at_most=10)
    yield Figure(f"FLUSHALL: the leases of {len(leases)} runs granted again, {kind}", granted, "s", at_most=10)
    yield Figure(
        f"FLUSHALL: {shards:,} shards of one job, and those of others, offered again, {kind}", offered, "s", at_most=10
    )


def _put(d: Dispatched, before: str, after: str, behind: int = 0) -> None:
    """Put the jobs of one state in another, and tell nobody."""
    with d.w.catalog.write() as tx:
        words = {"before": before, "after": after, "behind": behind}
        query = "UPDATE jobs SET state = :after WHERE state = :before AND id > :behind AND name <> 'big'"
        tx.jobs._db.execute(sa.text(query), words)
