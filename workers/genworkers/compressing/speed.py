"""How fast two models draw, measured in pairs, one right after the other, so that both meet the same machine."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from genplatform.domain.seeds import item_seed
from genworkers.recipes.base import TEXT
from genworkers.sampler import Sampler

FEWEST_PAIRS, MOST_PAIRS = 5, 21
# Pairs are measured until both models together have drawn for so long.
SECONDS = 10.0


def paired(
    parent: Sampler,
    child: Sampler,
    clock: Callable[[], float],
    at: Callable[[], None] = lambda: None,
    seconds: float | None = None,
) -> dict[str, Any]:
    """Draw one tile with each model in turn; return items or tokens a second of both, and the ratio of the pairs.

    Which of the two begins alternates. The ratio is the median over the pairs, `low` and `high` its quartiles; above 1
    the child is faster. `at` is called before each pair, and may raise.
    """
    samplers = {"parent": parent, "child": child}
    unit = "tokens" if parent.recipe.modality == TEXT else "samples"
    for sampler in samplers.values():
        _drawn(sampler, 0)  # what is made once is made here
    rates: dict[str, list[float]] = {name: [] for name in samplers}
    begun, limit = clock(), SECONDS if seconds is None else seconds
    for pair in range(MOST_PAIRS):
        if pair >= FEWEST_PAIRS and clock() - begun >= limit:
            break
        at()
        order = list(samplers) if pair % 2 == 0 else list(samplers)[::-1]
        for name in order:
            start = clock()
            count = _drawn(samplers[name], pair + 1)
            rates[name].append(count / max(clock() - start, 1e-9))
    ratios = [one / other for one, other in zip(rates["child"], rates["parent"], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return {
        "unit": f"{unit} a second",
        "value": statistics.median(rates["child"]),
        "parent": statistics.median(rates["parent"]),
        "ratio": middle,
        "low": low,
        "high": high,
        "pairs": len(ratios),
        "rows": parent.tile,
    }


def _drawn(sampler: Sampler, round_: int) -> int:
    """Draw one tile; return how many items, or tokens of texts, it holds."""
    seeds = [item_seed(round_, index) for index in range(sampler.tile)]
    told = [one for _, one in sampler.told(seeds)]
    if sampler.recipe.modality != TEXT:
        return len(told)
    return max(1, sum(int(one.get("completion_tokens", 0)) for one in told))
