"""Submits: one job at a time against a bare FastAPI handler with the same durable commit."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator

from bench.figures import Figure, percentile, ratio
from bench.places import DATABASES, TOKEN, database, redis, served

TITLE = "a submit, one by one, against a bare FastAPI handler that does the same durable commit"
ROUNDS = 7
REQUESTS = 500

Submit = Callable[[int], float]


def measure(*, quick: bool) -> Iterator[Figure]:
    """Yield the figures of both databases."""
    rounds, requests = (2, 20) if quick else (ROUNDS, REQUESTS)
    with redis() as redis_url:
        for kind in DATABASES:
            with database(kind) as url, served("ours", url, redis_url) as ours, served("bare", url) as bare:
                yield from _one_by_one(kind, _submitter(ours.port), _submitter(bare.port), rounds, requests)


def _one_by_one(kind: str, ours: Submit, bare: Submit, rounds: int, requests: int) -> Iterator[Figure]:
    for number in range(50):
        ours(number), bare(number)
    halves: dict[float, tuple[list[float], list[float]]] = {0.5: ([], []), 0.99: ([], [])}
    for _ in range(rounds):
        # In turns, one by one: whatever else the machine does, it does to both.
        pairs = [(ours(number), bare(number)) for number in range(requests)]
        for share, (mine, theirs) in halves.items():
            mine.append(percentile([pair[0] for pair in pairs], share))
            theirs.append(percentile([pair[1] for pair in pairs], share))
    for share, (mine, theirs) in halves.items():
        what = f"submit of one job, {kind}, p{share * 100:g}"
        yield ratio(what, mine, theirs, ("seconds", "seconds of the bare handler"), at_most=2)


def _submitter(port: int) -> Submit:
    """Return what submits one job over a connection that stays open, and how long its answer took."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def submit(number: int) -> float:
        body = json.dumps({"kind": "generate", "name": f"g{number}", "model": "noise@1", "count": 64})
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
        if answer.status != 201:
            raise RuntimeError(f"{answer.status}: {said[:500]!r}")
        return took

    return submit
