"""Two workers by Ray Train: the bare TorchTrainer.fit() as it comes, against the same loop as our gangs run it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import PIPE, Popen
from typing import IO, Any, cast

from bench.figures import Figure, ratio
from bench.places import folder  # noqa: F401 - makes the helpers of the tests importable
from ray_cluster import RayCluster

TITLE = "two workers by Ray Train: TorchTrainer.fit() as it comes, against our settings without its cleaner"
ROUNDS = 5
AT_MOST = 0.85


def measure(*, quick: bool) -> Iterator[Figure]:
    """Yield seconds to the first step and of the whole call, ours to plain ones, in turns."""
    with RayCluster() as cluster, driver(cluster, "plain") as plain, driver(cluster, "ours") as ours:
        rounds = [(plain(), ours()) for _ in range(1 if quick else ROUNDS)]
    for n, what in enumerate(("first step", "whole call")):
        series = [[one[whose][n] for one in rounds] for whose in (0, 1)]
        yield Figure(f"{what}, TorchTrainer as it comes", series[0], "s")
        yield Figure(f"{what}, our gangs", series[1], "s")
        names = ("seconds of our gangs", "seconds of TorchTrainer as it comes")
        yield ratio(f"{what}, to TorchTrainer as it comes", series[1], series[0], names, at_most=AT_MOST)


@contextmanager
def driver(cluster: RayCluster, whose: str) -> Iterator[Any]:
    """Give what trains once with two workers; seconds to the first step, and of the whole call."""
    command = [sys.executable, "-m", "bench.rivals", "gang", cluster.address, whose]
    with Popen(command, env=cluster.environment, stdin=PIPE, stdout=PIPE, text=True) as process:
        asked, told = cast("IO[str]", process.stdin), cast("IO[str]", process.stdout)
        assert "ready\n" in iter(told.readline, "")

        def act() -> tuple[float, float]:
            begun = time.time()
            asked.write("\n")
            asked.flush()
            first, end = map(float, told.readline().split())
            return first - begun, end - begun

        yield act
        process.communicate(timeout=60)
