"""Training through the platform's loop against the same recipe in a bare one: speed, what saving costs, and memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence

import torch
from bench.figures import Figure, ratio
from bench.train.both import RECIPES, Taken, bare_loop, platform_loop, sink

TITLE = "training through the platform's loop against the same recipe in a bare loop, one thread each"
ROUNDS = 9
STEPS = {"gan": 1100, "vae": 1100, "flow": 550}  # a round's: two checkpoints and more at default intervals, or one
OFF = 10**9


def measure(*, quick: bool) -> Iterator[Figure]:
    """Yield steps a second, what reports and checkpoints cost, and peak memory; ours and a bare loop's in turns."""
    torch.set_num_threads(1)
    with sink() as url:
        for recipe in RECIPES:
            steps = 20 if quick else STEPS[recipe]
            rounds = []
            for _ in range(2 if quick else ROUNDS):
                bare = bare_loop(recipe, steps)
                quiet = platform_loop(recipe, steps, url, every=OFF)
                usual = platform_loop(recipe, steps, url, every=500)
                rounds.append((bare, quiet, usual))
            yield from figures(recipe, rounds)
        for recipe in RECIPES:
            yield memory(recipe, 2 if quick else 3, 20 if quick else STEPS[recipe], url)


def figures(recipe: str, rounds: list[tuple[Taken, Taken, Taken]]) -> Iterator[Figure]:
    """Yield the ratios of one recipe, round by round."""
    bare, quiet, usual = zip(*rounds, strict=True)
    names = ("steps a second of ours", "steps a second of the bare loop")
    yield ratio(f"{recipe}: steps a second to a bare loop", speeds(usual), speeds(bare), names, at_least=0.97)
    both = ("processor seconds of the bare loop", "processor seconds of ours")
    yield ratio(
        f"{recipe}: the same, by processor time", [t.cpu for t in bare], [t.cpu for t in usual], both, at_least=0.97
    )
    parts = ("seconds with reports and checkpoints", "seconds without checkpoints")
    yield ratio(
        f"{recipe}: with checkpoints every 500 steps, to none",
        [t.wall for t in usual],
        [t.wall for t in quiet],
        parts,
        at_most=1.02,
    )


def speeds(taken: Sequence[Taken]) -> list[float]:
    """Return the steps a second of each round."""
    return [one.steps / one.wall for one in taken]


def memory(recipe: str, rounds: int, steps: int, url: str) -> Figure:
    """Return the most memory that a process had which trained so, to one with a bare loop."""
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(peak("platform", recipe, steps, url))
        theirs.append(peak("bare", recipe, steps))
    return ratio(f"{recipe}: peak memory to a bare loop", ours, theirs, ("MiB", "MiB of the bare loop"), at_most=1.1)


def peak(how: str, recipe: str, steps: int, *more: str) -> float:
    """Return the most memory that a training in a process of its own ever had, in MiB."""
    command = [sys.executable, "-m", "bench.train.both", how, recipe, str(steps), *more]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return float(json.loads(said.splitlines()[-1])["mib"])
