"""A whole local platform in a home of its own, spoken to as a person does: through the real command line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psutil

from genctl import Client
from genplatform import settings as surroundings
from genplatform.catalog import Catalog
from genplatform.catalog.leaders import Leader
from genplatform.engine.ray_engine import NAMESPACE
from genplatform.local import processes

GENCTL = Path(sys.executable).with_name("genctl")
DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits.yaml"
Found = TypeVar("Found")
WHO = """
import json, sys
import ray
from ray.util import list_named_actors
from genplatform.engine.ray_runners import RayRunners
ray.init(address=sys.argv[1], namespace=sys.argv[2], log_to_driver=False, logging_level="error")
runners, names = RayRunners(sys.argv[2]), list_named_actors()
became = {runner: name for name, runner in runners.became(names).items()}
at_work = [name for name in names if name in became or not runners.is_one(name)]
pings = {ray.get_actor(name).ping.remote(): became.get(name, name) for name in at_work}
answered, _ = ray.wait(list(pings), num_returns=len(pings), timeout=1) if pings else ([], [])
print(json.dumps({pings[ping]: ray.get(ping)["pid"] for ping in answered}))
"""


class WholePlatform:
    """Starts with `genctl up`, ends with `genctl down`; `run` types a command."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="genctl-test-home-"))
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("GENCTL_", "RAY_"))}
        self.env: Mapping[str, str] = kept | {"GENCTL_HOME": str(self.home), "NO_COLOR": "1"}
        self.settings = surroundings.load(self.env)
        self.catalog = Catalog(self.settings.database)

    def up(self) -> None:
        done = self.run("up", timeout=180)
        assert done.returncode == 0, done.stdout + done.stderr + self.logs()

    def close(self) -> None:
        self.catalog.close()
        self.run("down", timeout=120)
        shutil.rmtree(self.home, ignore_errors=True)

    def run(self, *arguments: str, stdin: str | None = None, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(GENCTL), *arguments],
            env=dict(self.env),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def json(self, *arguments: str, stdin: str | None = None, timeout: float = 120) -> Any:
        done = self.run(*arguments, "--json", stdin=stdin, timeout=timeout)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def client(self) -> Client:
        return Client(settings=self.settings)

    def part(self, name: str) -> int:
        """The pid of a part."""
        parts = json.loads(self.settings.platform_file.read_text())["parts"]
        return int(next(p["pid"] for p in parts if p["name"] == name))

    def process(self, part: str, name: str) -> int:
        """The pid of the process called `name` among a part's, such as Ray's `raylet`."""
        return next(int(p.pid) for p in processes.of_session(self.part(part)) if p.name() == name)

    def is_up(self) -> bool:
        return bool(self.json("status")["state"] == "up")

    @contextmanager
    def unattended(self) -> Iterator[None]:
        """The supervisor stands still meanwhile: a part that dies is started again only when this is over."""
        supervisor = self.part("supervisor")
        os.kill(supervisor, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(supervisor, signal.SIGCONT)

    def leader(self) -> Leader:
        """Who leads of the dispatchers, or led last."""
        with self.catalog.read() as tx:
            leader = tx.leaders.current()
        assert leader is not None
        return leader

    def job(self, ref: str) -> Any:
        return self.json("show", ref)

    def finished(self, ref: str, seconds: float = 180) -> Any:
        """Wait until the job is over and return it."""
        self.run("wait", ref, timeout=seconds)
        return self.job(ref)

    def partway(self, ref: str, low: float = 0.1, high: float = 0.9) -> float:
        """Wait until the job is past `low` of its progress; the share it is at, which is below `high`."""

        def share() -> float | None:
            job = self.job(ref)
            assert job["state"] in ("waiting", "queued", "starting", "running"), job
            progress = job["progress"] or {"done": 0, "total": 1}
            at = progress["done"] / progress["total"]
            return at if job["state"] == "running" and at >= low else None

        at = eventually(share)
        assert at < high, f"too quick to be hit: {at:.0%} done"
        return at

    def actor(self, marks: str) -> int:
        """The pid of the Ray worker process whose title names `marks`, such as RunActor."""
        # The oldest: one that is only coming to be has nothing to lose yet.
        return int(eventually(lambda: min(self.actors(marks), key=_age, default=None)))

    def actors(self, marks: str) -> list[int]:
        """The pids of all such Ray worker processes there are now."""
        titles = {p.pid: (" ".join(p.info["cmdline"] or []), p) for p in psutil.process_iter(["cmdline"])}
        return [
            pid for pid, (title, p) in titles.items() if title.startswith("ray::") and marks in title and self.owns(p)
        ]

    def workers(self) -> dict[str, int]:
        """The pids of the actors that answer now, by name, as Ray and they themselves know them."""
        env = psutil.Process(self.part("dispatcher")).environ()
        asked = [sys.executable, "-c", WHO, env["RAY_ADDRESS"], NAMESPACE]
        told = subprocess.run(asked, env=env, capture_output=True, text=True, timeout=120, check=True).stdout
        found: dict[str, int] = json.loads(told.splitlines()[-1])
        return found

    def listeners(self) -> set[str]:
        """The addresses that the platform's processes listen on, as `address:port name`."""
        mine = {p.pid: p.name() for p in psutil.process_iter() if self.owns(p)}
        return {
            f"{c.laddr.ip}:{c.laddr.port} {mine[c.pid]}"
            for c in psutil.net_connections(kind="tcp")
            if c.status == psutil.CONN_LISTEN and c.pid in mine
        }

    def logs(self) -> str:
        """The ends of the parts' logs, for a failure's report."""
        if not self.settings.logs.is_dir():
            return ""
        return "\n".join(f"--- {p.name}\n{p.read_text()[-2000:]}" for p in sorted(self.settings.logs.glob("*.log")))

    def owns(self, process: psutil.Process) -> bool:
        """Whether a process is one of this platform's."""
        try:
            return process.environ().get("GENCTL_HOME") == str(self.home)
        except psutil.Error:
            return False


def _age(pid: int) -> float:
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return float("inf")


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def eventually(holds: Callable[[], Found | None], seconds: float = 120, every: float = 0.1) -> Found:
    """Ask until the answer is true, and return it: what other processes do takes its own time."""
    pause = threading.Event()
    for _ in range(int(seconds / every)):
        answer = holds()
        if answer:
            return answer
        pause.wait(every)
    raise AssertionError(f"it did not come true within {seconds:g} s")
