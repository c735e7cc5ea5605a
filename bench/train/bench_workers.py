"""Two workers of one training, in the platform's loop, against the same recipe under torchrun with PyTorch's DDP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

from bench.figures import Figure, ratio
from bench.places import folder  # noqa: F401 - makes the helpers of the tests importable
from bench.train.both import Taken, sink
from ray_cluster import free_port

TITLE = "two workers in the platform's loop against bare torchrun with DDP, one thread each, on one machine"
ROUNDS = 7
STEPS = {"vae": 1200, "flow": 600}  # a round's


def measure(*, quick: bool) -> Iterator[Figure]:
    """Yield steps a second of two workers, ours and bare ones in turns."""
    with sink() as url:
        for recipe, usual in STEPS.items():
            steps = 40 if quick else usual
            rounds = [
                (torchrun("platform", recipe, steps, url), torchrun("ddp", recipe, steps))
                for _ in range(1 if quick else ROUNDS)
            ]
            ours, theirs = zip(*rounds, strict=True)
            names = ("steps a second of ours", "steps a second of bare DDP")
            speeds = [[one.steps / one.wall for one in series] for series in (ours, theirs)]
            yield ratio(f"{recipe}: steps a second of two workers to bare DDP", *speeds, names, at_least=0.9)


def torchrun(how: str, recipe: str, steps: int, *more: str) -> Taken:
    """Train with two processes and return what the first one took."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-addr=127.0.0.1"]
    command += [f"--master-port={free_port()}", "-m", "bench.train.two", how, recipe, str(steps), *more]
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
    return Taken(*json.loads(next(line for line in said.splitlines() if line.startswith("["))))
