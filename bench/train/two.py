"""The same recipe trained by two processes: by the platform's loop, and by a bare loop around PyTorch's DDP.

`torchrun --nproc-per-node 2 -m bench.train.two ddp|platform RECIPE STEPS [URL]` trains once; rank 0 writes how long.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import Any

import torch
from bench.places import folder
from bench.train.both import DATA, Bare, Taken
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from genplatform.store import Store
from genworkers.context import Follower, PlatformContext
from genworkers.data.sources import open_source
from genworkers.outbox import Outbox
from genworkers.platform_client import PlatformClient
from genworkers.recipes import registry
from genworkers.stop import StopFlag
from genworkers.training.job import TrainJob
from genworkers.training.loop import facts_of, train

ORDER: dict[str, Any] = {"tenant": "default", "job_id": "j_bench", "run": 1, "seed": 0, "checkpoint": {"keep": 3}}


class Both(Bare):
    """A bare step of one of several workers: each network that learns is wrapped in DDP."""

    def __init__(self, modules: Any, optimizers: dict[str, torch.optim.Optimizer]) -> None:
        wrapped = {
            name: DistributedDataParallel(net) if any(p.requires_grad for p in net.parameters()) else net
            for name, net in modules.items()
        }
        super().__init__(wrapped, optimizers)

    def optimize(self, name: str, loss: torch.Tensor) -> None:
        """Move one optimizer's parameters; DDP takes the mean of the gradients on their way."""
        self.optimizers[name].zero_grad()
        loss.backward()
        self.optimizers[name].step()


def ddp_loop(recipe: str, steps: int) -> Taken:
    """Train as a short script under torchrun would; the first steps do not count, as in `platform_loop`."""
    rank, size = distributed.get_rank(), distributed.get_world_size()
    dataset = open_source(DATA)
    made = registry.find(recipe).configured({}, facts_of(dataset))
    torch.manual_seed(rank)
    modules = made.build()
    ctx = Both(modules, made.optimizers(modules))
    everything = dataset.rows(torch.arange(len(dataset)))
    order = torch.cat([torch.randperm(1257) for _ in range(2 + steps * made.batch_size // 1257)])
    begun, left_out = (0.0, 0.0), TrainJob(recipe, {}, DATA, None, steps, 1, 10**9, 10**9).metrics_every
    for step in range(steps):
        if step == left_out:
            begun = time.perf_counter(), time.process_time()
        ctx.step = step
        rows = order[step * made.batch_size : (step + 1) * made.batch_size][rank::size]
        made.step({name: values[rows] for name, values in everything.items()}, ctx)
    return Taken(steps - left_out, time.perf_counter() - begun[0], time.process_time() - begun[1])


class Timed(PlatformContext):
    """The context of a gang's first worker, which takes the time at every point of its metrics."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.looks: list[tuple[int, float, float]] = []

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Take the time, and go on."""
        self.looks.append((step, time.perf_counter(), time.process_time()))
        super().metrics(step, values)


def platform_loop(recipe: str, steps: int, url: str) -> Taken:
    """Train as a gang does, with checkpoints; what comes before the first point of a metric does not count."""
    rank, size = distributed.get_rank(), distributed.get_world_size()
    job = TrainJob(recipe, {}, DATA, None, steps, 500, sheet_every=10**9, evaluate_every=10**9)
    with folder() as place:
        store = Store((place / "store").as_uri())
        if rank:
            train(job, Follower(ORDER, store), clock=time.monotonic, rank=rank, world_size=size)
            return Taken(0, 0.0, 0.0)
        outbox = Outbox(PlatformClient(url, "a-token"), "j_bench", 1, clock=time.time, on_fenced=lambda: None)
        outbox.start()
        ctx = Timed(ORDER, store, outbox, StopFlag())
        try:
            train(job, ctx, clock=time.monotonic, rank=rank, world_size=size)
        finally:
            outbox.close()
    by_step = {step: (wall, cpu) for step, wall, cpu in reversed(ctx.looks)}  # the first look at each
    first, last = min(by_step), max(by_step)
    (wall, cpu), (wall_end, cpu_end) = by_step[first], by_step[last]
    return Taken(last - first, wall_end - wall, cpu_end - cpu)


def main(how: str, recipe: str, steps: str, *url: str) -> None:
    """Train once, as one of the processes that torchrun starts."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    taken = ddp_loop(recipe, int(steps)) if how == "ddp" else platform_loop(recipe, int(steps), *url)
    if distributed.get_rank() == 0:
        print(json.dumps([taken.steps, taken.wall, taken.cpu]), flush=True)
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
