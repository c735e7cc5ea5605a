"""What a first step is measured against: the same training, one step of it, by what Ray itself offers.

`python -m bench.rivals actors ADDRESS` makes one detached actor for each line on its standard input, and writes when
its first step was done; `python -m bench.rivals job` is a Ray Job's whole program, and does the same, once.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import ray

NAMESPACE = "bench"


def first_step() -> float:
    """Train one step; returns when it was done, in seconds since the epoch."""
    from genworkers.training.loop import train
    from genworkers.warming import STEP, Nobody

    class Witness(Nobody):
        at = 0.0

        def event(self, kind: str, data: Mapping[str, Any]) -> None:
            if kind == "first_step":
                self.at = time.time()

    witness = Witness()
    train(STEP, witness, clock=time.monotonic)
    return witness.at


class Cold:
    """An actor that trains."""

    def first_step(self) -> float:
        """Return when it was done."""
        return first_step()


def actors(address: str) -> None:
    """Make an actor a line."""
    ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level="error")
    numbers = count(1)
    print("ready", flush=True)
    for _ in sys.stdin:
        actor = ray.remote(Cold).options(name=f"cold/{next(numbers)}", lifetime="detached", num_cpus=1).remote()
        print(ray.get(actor.first_step.remote()), flush=True)
        ray.kill(actor)


def steps_of_a_gang(config: Mapping[str, Any]) -> float:
    """Train a small network on one of several workers; returns when the first step was done."""
    import torch
    from ray.train.torch import prepare_model

    torch.set_num_threads(1)
    model = prepare_model(torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 64)))
    optimizer = torch.optim.AdamW(model.parameters())
    at = 0.0
    for _ in range(int(config["steps"])):
        loss = (model(torch.randn(64, 64)) ** 2).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        at = at or time.time()
    return at


def gangs(address: str, whose: str) -> None:
    """Train with two workers a line."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from genworkers.training.ray_gang import Asked, run_gang

    ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level="error")
    print("ready", flush=True)
    for number, _ in enumerate(sys.stdin):
        config, name = {"steps": 20}, f"{whose}-{number}"
        with tempfile.TemporaryDirectory() as folder:
            if whose == "ours":
                first = run_gang(Asked(2, 1.0), steps_of_a_gang, config, name, Path(folder))
            else:
                where = RunConfig(name=name, storage_path=folder)
                scaling = ScalingConfig(num_workers=2, resources_per_worker={"CPU": 1})
                trainer = TorchTrainer(
                    steps_of_a_gang, train_loop_config=config, scaling_config=scaling, run_config=where
                )
                first = trainer.fit().return_value
        print(first, time.time(), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "actors":
        actors(sys.argv[2])
    elif sys.argv[1] == "gang":
        gangs(*sys.argv[2:])
    else:
        print(f"first step at {first_step()}", flush=True)
