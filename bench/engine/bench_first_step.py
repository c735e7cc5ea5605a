"""From submit to the first step of a training on a warm platform, against a cold actor and a Ray Job doing the same."""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from subprocess import DEVNULL, PIPE, Popen
from typing import IO, Any, cast

import psutil
from bench.figures import Figure, percentile, ratio
from bench.places import folder

# After bench.places, which makes the helpers of the tests importable.
from whole_platform import WholePlatform, eventually

from genctl import Client

TITLE = "from submit to the first step of a training on a warm platform, against a cold actor and a Ray Job"
ROUNDS = 8
SPEC = "kind: train\nname: {name}\nrecipe: gan\ndata: {{source: digits}}\nbudget: {{steps: 1}}\n"
READY = re.compile(r"\b[1-9]\d* warm runner")


def measure(*, quick: bool) -> Iterator[Figure]:
    """Yield seconds to the first step, ours and of what Ray itself offers, in turns."""
    platform = WholePlatform()
    try:
        platform.up()
        with platform.client() as client, cold_actors(platform) as cold, ray_jobs() as job:
            rounds = [(warm(platform, client, n), cold(), job()) for n in range(2 if quick else ROUNDS)]
    finally:
        platform.close()
    started, ours = [[times[n] for times, _, _ in rounds] for n in (0, 1)]
    yield Figure("submit to the first step, warm", ours, "s", at_most=1)
    yield Figure("submit to started, warm, p50", [percentile(started, 0.5)], "s")
    yield Figure("submit to started, warm, p99", [percentile(started, 0.99)], "s")
    for n, what in ((1, "a cold detached actor"), (2, "a Ray Job")):
        theirs = [float(cast("Any", one[n])) for one in rounds]
        yield Figure(f"the first step of {what}", theirs, "s")
        yield ratio(f"submit to the first step, to {what}", ours, theirs, ("seconds", f"seconds of {what}"))


def warm(platform: WholePlatform, client: Client, number: int) -> tuple[float, float]:
    """Submit one training when a runner is ready; seconds until its worker said started, and until its first step."""
    eventually(lambda: any(READY.search(part["detail"]) for part in platform.json("status")["parts"]))
    begun = time.time()
    job = client.submit(SPEC.format(name=f"t{number}"))[0]["id"]
    client.wait(job)
    times = {event["type"]: datetime.fromisoformat(event["time"]).timestamp() for event in client.events(job)["events"]}
    return times["running"] - begun, times["first_step"] - begun


@contextmanager
def cold_actors(platform: WholePlatform) -> Iterator[Any]:
    """Give what makes one cold actor on the platform's own Ray; seconds until its first step."""
    env = psutil.Process(platform.part("dispatcher")).environ()
    command = [sys.executable, "-m", "bench.rivals", "actors", env["RAY_ADDRESS"]]
    with Popen(command, env=env, stdin=PIPE, stdout=PIPE, text=True) as driver:
        asked, told = cast("IO[str]", driver.stdin), cast("IO[str]", driver.stdout)
        assert "ready\n" in iter(told.readline, "")

        def act() -> float:
            begun = time.time()
            asked.write("\n")
            asked.flush()
            return float(told.readline()) - begun

        yield act
        driver.communicate(timeout=60)


@contextmanager
def ray_jobs() -> Iterator[Any]:
    """Give what submits a Ray Job, to a Ray of its own with the dashboard that jobs need; seconds to its first step."""
    from ray.job_submission import JobStatus, JobSubmissionClient

    gcs, dashboard = free_port(), free_port()
    ends = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED)
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    env |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    with folder() as temporary:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=4"]
        command += ["--node-ip-address=127.0.0.1", f"--port={gcs}", "--include-dashboard=true"]
        command += ["--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", f"--temp-dir={temporary}"]
        command += [f"--ray-client-server-port={free_port()}", f"--dashboard-agent-listen-port={free_port()}"]
        command += ["--object-store-memory=100000000", "--disable-usage-stats"]
        with Popen(command, env=env, stdout=DEVNULL, stderr=DEVNULL, start_new_session=True) as head:
            try:
                client = eventually(lambda: reached(lambda: JobSubmissionClient(f"http://127.0.0.1:{dashboard}")))

                def act() -> float:
                    begun = time.time()
                    job = client.submit_job(entrypoint=f"{sys.executable} -m bench.rivals job")
                    eventually(lambda: client.get_job_status(job) in ends)
                    said = re.search(r"first step at ([\d.]+)", client.get_job_logs(job))
                    assert said, client.get_job_logs(job)
                    return float(said[1]) - begun

                eventually(lambda: reached(act), seconds=180)  # the first one waits for the agent of the node
                yield act
            finally:
                for process in [*psutil.Process(head.pid).children(recursive=True), psutil.Process(head.pid)]:
                    process.kill()


def reached(act: Any) -> Any:
    """Do it; None when nobody answers yet."""
    try:
        return act()
    except (ConnectionError, RuntimeError):
        return None


def free_port() -> int:
    """Return a port that was free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
