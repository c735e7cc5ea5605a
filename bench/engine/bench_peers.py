"""Jobs that do nothing, through a whole local platform and through other Python queues."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.engine.bench_small_jobs import settle
from bench.figures import Figure, percentile
from bench.peers import REQUIREMENTS
from bench.places import folder, platform, postgres, redis_on_a_port

from genctl import Client
from genplatform.catalog import Catalog

TITLE = "jobs that do nothing (ours: one picture of noise, published), through the platform and through other queues"
ROUNDS, JOBS, PACED, PAUSE = 3, 1_000, 60, 0.1
LONGEST = 180.0
LOOK = 0.02
PROGRAM = Path(__file__).resolve().parents[1] / "peers.py"


def measure(*, quick: bool) -> Iterator[Figure]:
    """Yield each queue's rate, and its time from the submit to the start of a job while it idles."""
    rounds, jobs, paced = (1, 20, 5) if quick else (ROUNDS, JOBS, PACED)
    with ExitStack() as stack:
        home = stack.enter_context(folder())
        redis, database = stack.enter_context(redis_on_a_port()), stack.enter_context(postgres())
        settings = stack.enter_context(platform())
        client = stack.enter_context(Client(settings=settings))
        catalog = Catalog(settings.database)
        stack.callback(catalog.close)
        settle(client, catalog, "warm", 20, together=True)
        queues = {"genctl": _Ours(client, catalog)} | {
            name: _Peer(name, _python(home / name, name), database if name == "pgqueuer" else redis, home / name)
            for name in REQUIREMENTS
        }
        rates: dict[str, list[float]] = {name: [] for name in queues}
        starts: dict[str, list[list[float]]] = {name: [] for name in queues}
        for number in range(rounds):
            for name, queue in queues.items():
                with queue.at_work():
                    rates[name].append(jobs / queue.drain(f"d{number}", jobs))
                    starts[name].append(queue.paced(f"p{number}", paced))
    for name in queues:
        yield Figure(f"{name}, {jobs:,} jobs, a second", rates[name], "jobs/s")
    for share in (0.5, 0.99):
        for name in queues:
            took = [1000 * percentile(times, share) for times in starts[name]]
            promised = 25.0 if (name, share) == ("genctl", 0.99) and not quick else None
            yield Figure(f"{name}, submit to start, p{share * 100:g}", took, "ms", at_most=promised)


@dataclass(frozen=True)
class _Ours:
    client: Client
    catalog: Catalog

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Have a warm pool: the platform has one since its first job."""
        yield

    def drain(self, name: str, jobs: int) -> float:
        """Return how many seconds went by until all were done."""
        return settle(self.client, self.catalog, name, jobs, together=True)

    def paced(self, name: str, jobs: int) -> list[float]:
        """Return the seconds from each submit to the start of its Run."""
        sent = {}
        for number in range(jobs):
            time.sleep(PAUSE)
            document = {"kind": "generate", "name": f"{name}-{number}", "model": "noise@1", "count": 1, "seed": number}
            begun = time.time()
            self.client.submit(json.dumps(document))
            sent[document["name"]] = begun
        _wait(lambda: not self._open())
        with self.catalog.read() as tx:
            rows = tx.jobs.page("default", states=(), queue=None, before=None, limit=jobs)
        return [row.started_at - sent[row.name] for row in rows if row.started_at is not None]

    def _open(self) -> bool:
        with self.catalog.read() as tx:
            return bool(tx.jobs.counts())


@dataclass(frozen=True)
class _Peer:
    name: str
    python: str
    url: str
    home: Path

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Have one worker that is up."""
        command = [self.python, str(PROGRAM), self.name, "work", self.url, str(self._notes("ready"))]
        with open(self.home / "log", "ab") as log, subprocess.Popen(command, stdout=log, stderr=log) as worker:
            try:
                time.sleep(3)  # pgqueuer makes its tables first
                try:
                    self._send("ready", 1, 0)
                except (RuntimeError, subprocess.CalledProcessError) as error:
                    said = (self.home / "log").read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"{self.name} took no job: {error}\n{said}") from error
                yield
            finally:
                worker.kill()

    def drain(self, name: str, jobs: int) -> float:
        """Return how many seconds went by from the first submit until the last job began, which is when it ends."""
        begun, notes = self._send(name, jobs, 0)
        return max(at for _, at in notes) - begun

    def paced(self, name: str, jobs: int) -> list[float]:
        """Return the seconds from each submit to the start of its job."""
        return [at - sent for sent, at in self._send(name, jobs, PAUSE)[1]]

    def _notes(self, name: str) -> Path:
        return self.home / f"{name}.notes"

    def _send(self, name: str, jobs: int, pause: float) -> tuple[float, list[tuple[float, float]]]:
        # pgqueuer's jobs carry no file: its worker notes all of them in the one it was started with.
        file = self._notes("ready" if self.name == "pgqueuer" else name)
        before = len(_lines(file))
        command = [self.python, str(PROGRAM), self.name, "send", self.url, str(file), str(jobs), str(pause)]
        said = subprocess.run(command, check=True, capture_output=True, text=True)
        _wait(lambda: len(_lines(file)) >= before + jobs)
        pairs = [line.split() for line in _lines(file)[before:]]
        return float(said.stdout.split()[-1]), [(float(sent), float(at)) for sent, at in pairs]


def _python(home: Path, name: str) -> str:
    """Return the interpreter of a fresh environment that holds one peer."""
    python = str(home / "bin" / "python")
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    subprocess.run([python, "-m", "pip", "install", "-qq", *REQUIREMENTS[name]], check=True)
    return python


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def _wait(is_over: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONGEST
    while not is_over():
        if time.monotonic() > deadline:
            raise RuntimeError(f"Not over after {LONGEST:g} s.")
        time.sleep(LOOK)
