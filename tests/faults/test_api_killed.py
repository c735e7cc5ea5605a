"""The API killed with SIGKILL while it takes submits: what was acknowledged is there, once; so is what was retried."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from api_process import FAULTS, ApiProcess
from local_home import eventually
from real_api import api_owner, make_api, redis_server

__all__ = ["api_owner", "make_api", "redis_server"]  # fixtures, found by their names

JOB = "kind: generate\nname: {name}\nmodel: noise@1\ncount: 10\n"
PAIR = f"{JOB.format(name='first')}---\n{JOB.format(name='second')}needs: [first]\n"
KILLS = 12
MOST_KILLS = 60
CLIENTS = 4


@pytest.mark.parametrize("point", FAULTS)
def test_a_submit_whose_api_dies_is_the_same_jobs_at_the_next(
    make_api: Callable[..., ApiProcess],
    catalog_url: str,
    point: str,
    record_property: Callable[[str, object], None],
) -> None:
    api = make_api(catalog_url)
    api.start(fault=point)

    typed = api.type("submit", "-", "--json", stdin=PAIR)
    api.gone()
    left = sorted(row.job_id for row in api.rows())
    record_property("killed_at", {"point": point, "jobs_then": len(left)})
    api.start()
    out, err = typed.communicate(timeout=60)

    assert typed.returncode == 0, err
    told = json.loads(out)["jobs"]
    assert [job["name"] for job in told] == ["first", "second"]
    assert sorted(job["id"] for job in told) == sorted(row.job_id for row in api.rows())
    assert left == ([] if point == "before the commit" else sorted(job["id"] for job in told))


class Submitter:
    """A client that submits one job after the other and waits out whatever befalls the API."""

    def __init__(self, api: ApiProcess, number: int, over: threading.Event) -> None:
        self._api = api
        self._number = number
        self._over = over
        self._name = ""
        self.acknowledged: dict[str, str] = {}
        self.retried: set[str] = set()

    def run(self) -> None:
        with self._api.client(sleep=self._wait) as client:
            while not self._over.is_set():
                self._name = f"c{self._number}-{len(self.acknowledged)}"
                (job,) = client.submit(JOB.format(name=self._name))
                self.acknowledged[self._name] = job["id"]

    def _wait(self, seconds: float) -> None:
        self.retried.add(self._name)
        self._over.wait(min(seconds, 0.2))


def test_through_a_dozen_kills_every_acknowledged_submit_is_one_job(
    make_api: Callable[..., ApiProcess], catalog_url: str, record_property: Callable[[str, object], None]
) -> None:
    api = make_api(catalog_url)
    api.start()
    chance = random.Random(11)
    over = threading.Event()
    clients = [Submitter(api, number, over) for number in range(CLIENTS)]
    killed_at: list[int] = []
    unanswered: set[str] = set()

    def acknowledged() -> dict[str, str]:
        return {name: job_id for one in clients for name, job_id in list(one.acknowledged.items())}

    def answered_more(than: int) -> bool:
        return len(acknowledged()) > than or any(run.done() for run in runs)

    def were_resolved_by_key() -> set[str]:
        return unanswered & {name for one in clients for name in list(one.retried)}

    with ThreadPoolExecutor(CLIENTS) as pool:
        runs = [pool.submit(one.run) for one in clients]
        try:
            while len(killed_at) < KILLS or (not were_resolved_by_key() and len(killed_at) < MOST_KILLS):
                some = len(acknowledged()) + chance.randint(1, 8)
                eventually(lambda some=some: answered_more(some))
                api.kill()
                killed_at.append(len(acknowledged()))
                unanswered |= {row.name for row in api.rows()} - acknowledged().keys()
                api.start()
            eventually(lambda: answered_more(killed_at[-1]))
        finally:
            over.set()
    for run in runs:
        run.result()

    resolved = len(were_resolved_by_key())
    record_property("killed_at", {"acknowledged": killed_at, "of": len(acknowledged()), "resolved_by_key": resolved})
    rows = api.rows()
    assert {row.name: row.job_id for row in rows} == acknowledged()
    assert len(rows) == len(acknowledged())
    assert resolved, "no kill came between a commit and its answer"
