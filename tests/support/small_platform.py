"""A platform without processes: real services over a real catalog and store, with time and Redis in the test's hand."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fake_node import CommandNode, PoolNode, TrainNode, node_secret

from genplatform.catalog import Catalog, JobRow, ShardRow
from genplatform.domain.job import DEFAULT_TENANT
from genplatform.domain.keys import ClaimKey, JobKey
from genplatform.domain.retry import Cause
from genplatform.domain.tokens import PoolGrant, issue
from genplatform.errors import Unavailable
from genplatform.queues.memory import MemoryQueues
from genplatform.queues.seam import Queues
from genplatform.services import jobs, leadership, reconcile, runs, submit
from genplatform.services.claims import release_claims
from genplatform.services.context import Wiring
from genplatform.services.endings import Ending, close_run
from genplatform.spec import RecipeBook
from genplatform.store import Store

TENANT = DEFAULT_TENANT
API_URL = "http://127.0.0.1:1"
SECRET = "a-secret-of-tests"
HOLDER = "dispatcher-of-tests"

# How a Run or a claim ends whose worker's process was killed.
DIED = Ending(Cause.NODE_LOST, "Its worker died.", died=True)

TRAIN = "kind: train\nname: {name}\nrecipe: gan\ndata: {{source: digits}}\nbudget: {{steps: 100}}\n"
COMMAND = "kind: command\nname: {name}\ncommand: [python, train.py]\n"
GENERATE = "kind: generate\nname: {name}\nmodel: {model}\ncount: {count}\nbatch_size: 64\n"


def train(name: str = "t", more: str = "") -> str:
    """Return the job file of a train job; it publishes a model of its own name."""
    return TRAIN.format(name=name) + more


def generate(name: str = "g", count: int = 192, model: str = "noise@1", more: str = "") -> str:
    """Return the job file of a generate job, in shards of 64 items."""
    return GENERATE.format(name=name, count=count, model=model) + more


def command(name: str = "c", more: str = "") -> str:
    """Return the job file of a command."""
    return COMMAND.format(name=name) + more


class HandClock:
    """Time that passes when a test says so."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def go(self, seconds: float) -> None:
        self.now += seconds


class CutQueues(MemoryQueues):
    """The queues' twin with a wire that can be cut: while `reachable` is false every act raises Unavailable."""

    reachable = True

    def __getattribute__(self, name: str) -> Any:
        return _cut if name in _ACTS and not self.reachable else super().__getattribute__(name)


def _cut(*_: object) -> Any:
    raise Unavailable("Redis was cut off by the test.")


_ACTS = frozenset(name for name in vars(Queues) if not name.startswith("_")) - {"close"}


class SmallPlatform:
    """Wired services, and short words for what tests do with them again and again."""

    def __init__(self, database: str, folder: Path) -> None:
        self.clock = HandClock()
        self.queues = CutQueues(self.clock)
        chance = random.Random(7)
        self.w = Wiring(
            catalog=Catalog(database),
            queues=self.queues,
            store=Store((folder / "store").as_uri()),
            recipes=RecipeBook.builtin(),
            secret=SECRET,
            clock=self.clock,
            randbelow=chance.randrange,
            url="http://127.0.0.1:8000",
        )

    def close(self) -> None:
        self.w.catalog.close()

    def submit(self, text: str, **options: Any) -> list[str]:
        """Submit a job file; return the jobs' ids."""
        made = submit.submit(self.w, TENANT, text.encode(), "application/yaml", **options)
        return [job["id"] for job in made["jobs"]]

    def one(self, text: str) -> str:
        """Submit a job file of one job; return its id."""
        (job_id,) = self.submit(text)
        return job_id

    def job(self, ref: str) -> dict[str, Any]:
        """Return a job as the API shows it."""
        return jobs.show(self.w, TENANT, ref)

    def state(self, ref: str) -> str:
        return str(self.job(ref)["state"])

    def reason(self, ref: str) -> str | None:
        reason = self.job(ref)["reason"]
        return None if reason is None else str(reason["code"])

    def row(self, job_id: str) -> JobRow:
        with self.w.catalog.read() as tx:
            row = tx.jobs.by_id(TENANT, job_id)
        assert row is not None
        return row

    def line(self) -> list[str]:
        """Return the ids of the queued jobs, oldest first."""
        spans = reconcile.spans(self.w)
        return [j.job_id for span in sorted(spans) for j in reconcile.queued_within(self.w, span, span)]

    def shards(self, job_id: str) -> list[ShardRow]:
        row = self.row(job_id)
        with self.w.catalog.read() as tx:
            return tx.shards.of_job(row.id)

    def events(self, ref: str, *types: str) -> list[dict[str, Any]]:
        return list(jobs.events(self.w, TENANT, ref, limit=1000, types=types)["events"])

    def term(self, holder: str = HOLDER) -> int:
        """Lead as the dispatcher; return the term."""
        term = leadership.lead(self.w, holder)
        assert term is not None
        return term

    def open(self, job_id: str, workers: int = 1) -> runs.OpenedRun:
        """Open the next Run of a queued job."""
        key = JobKey(TENANT, job_id)
        opened = runs.open_run(self.w, self.term(), key, workers=workers, api_url=API_URL)
        assert opened is not None
        return opened

    def lose(self, job_id: str, cause: Cause = Cause.NODE_LOST, message: str = "Its node is gone.") -> None:
        """Close a job's current Run as the dispatcher does."""
        close_run(self.w, self.row(job_id).run_key, Ending(cause, message), term=self.term())

    def lose_claims(self, *claims: ClaimKey, ending: Ending = DIED) -> int:
        """End claims as the dispatcher does when their worker is gone; return how many were current."""
        return release_claims(self.w, self.term(), dict.fromkeys(claims, ending))

    def trainer(self, opened: runs.OpenedRun) -> TrainNode:
        return TrainNode(self.w, opened.order)

    def commander(self, opened: runs.OpenedRun) -> CommandNode:
        return CommandNode(self.w, opened.order)

    def commanding(self, more: str = "") -> tuple[str, CommandNode]:
        """Submit a command and open its Run; return its id and what works on it, which has spoken."""
        job_id = self.one(command(more=more))
        node = self.commander(self.open(job_id))
        node.start()
        return job_id, node

    def worker(self, opened: runs.OpenedRun, name: str = "w1") -> PoolNode:
        return PoolNode(self.w, opened.order, name)

    def worker_of(self, other: PoolNode, name: str) -> PoolNode:
        """Return another worker of a worker's pool."""
        token = issue(node_secret(self.w), PoolGrant(TENANT, other.pool))
        return PoolNode(self.w, {"token": token, "pool": other.pool}, name)

    def trained(self, name: str = "t", model: dict[str, Any] | None = None) -> str:
        """Submit a train job and bring it to its end; return its id."""
        job_id = self.one(train(name))
        self.trainer(self.open(job_id)).publish(**(model or {}))
        return job_id

    def generating(self, text: str = "", workers: int = 1) -> tuple[str, PoolNode]:
        """Submit a generate job and open its Run; return its id and a worker of its pool."""
        job_id = self.one(text or generate())
        return job_id, self.worker(self.open(job_id, workers))


def until(done: Callable[[], bool], act: Callable[[], object], most: int = 50) -> None:
    """Act again and again until it is done."""
    for _ in range(most):
        if done():
            return
        act()
    raise AssertionError(f"not done after {most} rounds")
