"""The same recipe trained twice: by the platform's loop, with its store and its word to an API, and by a bare loop.

`python -m bench.train.both bare|platform RECIPE STEPS [URL]` trains once, and writes the most memory it ever had.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from bench.places import folder
from torch import Tensor

from genplatform.store import Store
from genworkers.context import PlatformContext
from genworkers.data.sources import open_source
from genworkers.outbox import Outbox
from genworkers.platform_client import PlatformClient
from genworkers.recipes import registry
from genworkers.stop import StopFlag
from genworkers.training.job import TrainJob
from genworkers.training.loop import facts_of, train

RECIPES = ("gan", "vae", "flow")
DATA = {"source": "digits"}


@dataclass(frozen=True)
class Taken:
    """What some steps took."""

    steps: int
    wall: float
    cpu: float


class Bare:
    """What a recipe's step needs, and nothing else: torch's own randomness, a backward pass and a move."""

    def __init__(self, modules: Any, optimizers: dict[str, torch.optim.Optimizer]) -> None:
        self.modules, self.optimizers = modules, optimizers
        self.step = 0
        self.generator = torch.Generator()
        self.params = {
            name: [p for group in one.param_groups for p in group["params"]] for name, one in optimizers.items()
        }

    def noise(self, stream: str, shape: Sequence[int]) -> Tensor:
        """Return normal noise."""
        return torch.randn(tuple(shape))

    def uniform(self, stream: str, shape: Sequence[int]) -> Tensor:
        """Return numbers from [0, 1)."""
        return torch.rand(tuple(shape))

    def optimize(self, name: str, loss: Tensor) -> None:
        """Move one optimizer's parameters."""
        self.optimizers[name].zero_grad()
        loss.backward(inputs=self.params[name], retain_graph=True)
        self.optimizers[name].step()


def bare_loop(recipe: str, steps: int) -> Taken:
    """Train as a short script would; the first step is not counted."""
    dataset = open_source(DATA)
    made = registry.find(recipe).configured({}, facts_of(dataset))
    torch.manual_seed(0)
    modules = made.build()
    ctx = Bare(modules, made.optimizers(modules))
    everything = dataset.rows(torch.arange(len(dataset)))
    order = torch.cat([torch.randperm(1257) for _ in range(2 + steps * made.batch_size // 1257)])
    begun = (0.0, 0.0)
    for step in range(steps):
        if step == 1:
            begun = time.perf_counter(), time.process_time()
        ctx.step = step
        rows = order[step * made.batch_size : (step + 1) * made.batch_size]
        made.step({name: values[rows] for name, values in everything.items()}, ctx)
    return Taken(steps - 1, time.perf_counter() - begun[0], time.process_time() - begun[1])


class Watched(PlatformContext):
    """The context of a run, which takes the time when the loop asks whether to stop: before every step."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.looks: list[tuple[float, float]] = []

    def should_stop(self) -> str | None:
        """Take the time, and go on."""
        self.looks.append((time.perf_counter(), time.process_time()))
        return super().should_stop()


def platform_loop(recipe: str, steps: int, url: str, *, every: int) -> Taken:
    """Train as a run does, checkpoints so often; neither the first step is counted nor what follows the last one."""
    job = TrainJob(recipe, {}, DATA, None, steps + 1, every, sheet_every=10**9, evaluate_every=10**9)
    with folder() as place:
        order = {"tenant": "default", "job_id": "j_bench", "run": 1, "seed": 0, "checkpoint": {"keep": 3}}
        client = PlatformClient(url, "a-token")
        outbox = Outbox(client, "j_bench", 1, clock=time.time, on_fenced=lambda: None)
        outbox.start()
        try:
            ctx = Watched(order, Store((place / "store").as_uri()), outbox, StopFlag())
            train(job, ctx, clock=time.monotonic)
        finally:
            outbox.close()
    (wall, cpu), (wall_end, cpu_end) = ctx.looks[1], ctx.looks[steps]
    return Taken(steps - 1, wall_end - wall, cpu_end - cpu)


@contextmanager
def sink() -> Iterator[str]:
    """Give the URL of an API in a process of its own that takes everything."""
    command = [sys.executable, "-m", "bench.train.both", "sink"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


class _Taker(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Read it, and answer nothing."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def _most_resident() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("This system does not tell how much memory a process had.")


def main(arguments: list[str]) -> None:
    """Train once, or take what others send."""
    if arguments[0] == "sink":
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Taker)
        print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
        server.serve_forever()
    torch.set_num_threads(1)
    how, recipe, steps = arguments[0], arguments[1], int(arguments[2])
    taken = bare_loop(recipe, steps) if how == "bare" else platform_loop(recipe, steps, arguments[3], every=500)
    print(json.dumps({"mib": _most_resident(), "steps_a_second": taken.steps / taken.wall}))


if __name__ == "__main__":
    main(sys.argv[1:])
