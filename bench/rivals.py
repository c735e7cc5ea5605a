"""What a first step is measured against: the same training, one step of it, by what Ray itself offers.

`python -m bench.rivals actors ADDRESS` makes one detached actor for each line on its standard input, and writes when
its first step was done; `python -m bench.rivals job` is a Ray Job's whole program, and does the same, once.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from itertools import count
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


if __name__ == "__main__":
    if sys.argv[1] == "actors":
        actors(sys.argv[2])
    else:
        print(f"first step at {first_step()}", flush=True)
