"""Submits, one by one and 100,000 in one request, against a bare FastAPI handler with the same durable commit."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator

from bench.figures import Figure, percentile, ratio
from bench.places import DATABASES, TOKEN, Served, database, redis, served

TITLE = "submits, one by one and in bulk, against a bare FastAPI handler that does the same durable commit"
ROUNDS, REQUESTS = 7, 300
BULK_ROUNDS, BULK = 5, 100_000

Submit = Callable[[bytes], float]
PAIR = ("seconds", "seconds of the bare handler")


def measure(*, quick: bool) -> Iterator[Figure]:
    """Yield the figures of both databases."""
    with redis() as redis_url:
        for kind in DATABASES:
            with database(kind) as url, served("ours", url, redis_url) as ours, served("bare", url) as bare:
                yield from _one_by_one(kind, ours, bare, *((2, 20) if quick else (ROUNDS, REQUESTS)))
            with database(kind) as url, served("ours", url, redis_url) as ours, served("bare", url) as bare:
                yield from _in_bulk(kind, ours, bare, *((2, 2000) if quick else (BULK_ROUNDS, BULK)))


def _one_by_one(kind: str, ours: Served, bare: Served, rounds: int, requests: int) -> Iterator[Figure]:
    mine, theirs = _submitter(ours.port), _submitter(bare.port)
    for number in range(50):
        mine(_one(number)), theirs(_one(number))
    shares: dict[float, tuple[list[float], list[float]]] = {0.5: ([], []), 0.99: ([], [])}
    for _ in range(rounds):
        # In turns, one by one: whatever else the machine does, it does to both.
        pairs = [(mine(_one(number)), theirs(_one(number))) for number in range(requests)]
        for share, series in shares.items():
            for side in (0, 1):
                series[side].append(percentile([pair[side] for pair in pairs], share))
    for share, series in shares.items():
        yield ratio(f"submit of one job, {kind}, p{share * 100:g}", *series, PAIR, at_most=2)


def _in_bulk(kind: str, ours: Served, bare: Served, rounds: int, jobs: int) -> Iterator[Figure]:
    mine, theirs = _submitter(ours.port, stays=False), _submitter(bare.port, stays=False)
    body = json.dumps([json.loads(_one(number)) for number in range(jobs)]).encode()
    mine(_one(0)), theirs(_one(0))
    before = ours.resident()
    pairs = [(mine(body), theirs(body)) for _ in range(rounds)]
    seconds, others = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    what = f"{jobs:,} jobs in one request, {kind}"
    yield Figure(what, [jobs / took for took in seconds], "jobs/s", at_least=20_000)
    yield ratio(f"{what}, to Core's executemany", seconds, others, PAIR)
    yield Figure(f"{what}, most memory of the API above {before:.0f} MiB", [ours.most_resident() - before], "MiB")


def _one(number: int) -> bytes:
    return json.dumps({"kind": "generate", "name": f"g{number}", "model": "noise@1", "count": 64}).encode()


def _submitter(port: int, *, stays: bool = True) -> Submit:
    """Return what sends a body, over a connection that stays open or a fresh one, and how long its answer took."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)

    def submit(body: bytes) -> float:
        headers = {
            "Authorization": f"Bearer {TOKEN}",
            "Content-Type": "application/json",
            "Idempotency-Key": f"{time.time_ns()}",
        }
        begun = time.perf_counter()
        connection.request("POST", "/api/v1/jobs", body, headers)
        answer = connection.getresponse()
        said = answer.read()
        took = time.perf_counter() - begun
        if not stays:
            connection.close()  # the other's turn may take longer than a server keeps one that is idle
        if answer.status != 201:
            raise RuntimeError(f"{answer.status}: {said[:500]!r}")
        return took

    return submit
