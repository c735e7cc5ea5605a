"""Thousands of lives of the platform under faults: whatever happens, every law holds after every commit.

`python -m pytest tests/simulation --seeds 4000 -n 2` plays more of them; `--seed N` plays one again.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest
from lifetime import play
from snapshot import Ground
from sometimes import never, spared, untouched

SEEDS = 200
MANY = 1000


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seeds" not in metafunc.fixturenames:
        return
    again = metafunc.config.getoption("--seed", None)
    number = metafunc.config.getoption("--seeds", None) or SEEDS
    chunks = [range(first, min(first + MANY, number)) for first in range(0, number, MANY)]
    chunks = chunks if again is None else [range(again, again + 1)]
    metafunc.parametrize("seeds", chunks, ids=[f"{chunk.start}-{chunk.stop - 1}" for chunk in chunks])


@pytest.mark.timeout(1800)
def test_every_law_holds_and_everything_happens_sometimes(ground: Ground, seeds: range) -> None:
    happened: Counter[str] = Counter()
    struck: Counter[str] = Counter()
    calls: Counter[str] = Counter()

    for seed in seeds:
        verdict = play(seed, ground)
        assert not verdict.law, verdict.told()
        happened += verdict.happened
        struck += verdict.struck
        calls += verdict.calls

    if len(seeds) >= SEEDS:
        assert never(happened, struck) == []
        assert untouched(struck, calls) == []
    if len(seeds) >= MANY:
        assert spared(struck, calls) == []
    if len(seeds) == 1:
        print("\n".join(verdict.trace))


def digest(seed: int, ground: Ground) -> str:
    return sha256("\n".join(play(seed, ground).trace).encode()).hexdigest()


def test_the_short_way_to_the_database_plays_the_same_histories(ground: Ground) -> None:
    seeds = range(5)
    by_the_short_way = [digest(seed, ground) for seed in seeds]

    ground.short.long = True
    try:
        by_the_long_way = [digest(seed, ground) for seed in seeds]
    finally:
        ground.short.long = False

    assert by_the_long_way == by_the_short_way


def test_a_history_follows_from_its_seed_alone(ground: Ground) -> None:
    here = [digest(seed, ground) for seed in range(3)]
    tests = Path(__file__).parent.parent
    program = (
        f"import sys; sys.path[:0] = {[str(tests / 'support'), str(tests / 'simulation')]}\n"
        "from test_simulation import digest\nfrom snapshot import Ground\n"
        "ground = Ground()\nprint(*[digest(seed, ground) for seed in range(3)])"
    )

    # Another process, with other hashes of strings.
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert said.stdout.split() == here
