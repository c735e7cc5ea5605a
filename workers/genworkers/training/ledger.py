"""What a private training has spent: its noise, its sampling and its steps, and the epsilon that they come to.

Each step is a Gaussian mechanism on a Poisson sample of the training part, accounted by Renyi divergences (Mironov,
2017; Mironov, Talwar and Zhang, 2019) as opacus computes them: an upper bound, for one item added or removed.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np

from genplatform.errors import BadRequest

TOLERANCE = 0.01  # of the budget that may be left, as a share of it
# Of the Renyi divergences. Every order gives a bound, the best of them counts; of those that are no whole numbers a few
# are enough, for opacus takes a hundred times as long for one.
ORDERS = (1.25, 1.5, 1.75, *range(2, 65), 80, 96, 128, 192, 256)


@dataclass
class Ledger:
    """The state of a private training that a checkpoint keeps.

    `secret` is what noise and sampling are drawn from. Whoever knows it can take the noise away again: it is made anew
    for every training, is in its checkpoints and nowhere else, and is never derived from the job's seed.
    """

    secret: str
    noise_multiplier: float  # standard deviation of the noise, in units of the largest gradient
    sample_rate: float  # chance of an item to be in a step
    steps: int = 0  # that were taken

    def epsilon(self, delta: float) -> float:
        """Return what is spent until now."""
        return epsilon_of(self.noise_multiplier, self.sample_rate, self.steps, delta)

    def as_json(self) -> dict[str, Any]:
        """Return it as a checkpoint keeps it."""
        return asdict(self)


def epsilon_of(noise_multiplier: float, sample_rate: float, steps: int, delta: float) -> float:
    """Return the epsilon of so many steps."""
    if not steps:
        return 0.0
    rdp = _opacus("analysis.rdp")
    with warnings.catch_warnings():
        # It says that orders of another size might be tighter: the bound holds all the same.
        warnings.simplefilter("ignore")
        divergences = np.asarray(_of_a_step(noise_multiplier, sample_rate)) * steps
        spent, _ = rdp.get_privacy_spent(orders=list(ORDERS), rdp=divergences, delta=delta)
    return float(spent)


def noise_for(epsilon: float, delta: float, sample_rate: float, steps: int) -> float:
    """Return the least noise multiplier, nearly, with which so many steps stay within the budget.

    Raises BadRequest for a budget that no noise keeps.
    """
    utils = _opacus("utils")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = utils.get_noise_multiplier(
                target_epsilon=epsilon,
                target_delta=delta,
                sample_rate=sample_rate,
                steps=steps,
                accountant="rdp",
                epsilon_tolerance=epsilon * TOLERANCE,
                alphas=list(ORDERS),
            )
    except ValueError as error:
        raise BadRequest(
            f"No noise keeps {steps:,} steps, each with {sample_rate:.3g} of the items, within epsilon {epsilon}.",
            "Raise privacy.epsilon or privacy.delta, or train for fewer steps.",
        ) from error
    return float(found)


@lru_cache(maxsize=8)
def _of_a_step(noise_multiplier: float, sample_rate: float) -> tuple[float, ...]:
    """Return the divergence of one step for each order: those of several add up."""
    rdp = _opacus("analysis.rdp")
    found = rdp.compute_rdp(q=sample_rate, noise_multiplier=noise_multiplier, steps=1, orders=list(ORDERS))
    return tuple(np.atleast_1d(found).tolist())


def _opacus(module: str) -> Any:
    """Return a module of its accountants; raises ModuleNotFoundError that says how it is had."""
    try:
        return import_module(f"opacus.accountants.{module}")
    except ImportError:
        raise ModuleNotFoundError("Private trainings need the package opacus: install genctl[privacy].") from None
