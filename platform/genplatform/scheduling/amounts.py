"""Exact arithmetic over CPUs and GPUs, and how amounts are said."""

from __future__ import annotations

from dataclasses import dataclass

from genplatform.domain.job import Demand

# Ray counts in ten-thousandths; so do we, in whole numbers, because 0.1 + 0.2 is not 0.3.
UNIT = 10_000


@dataclass(frozen=True)
class Amount:
    """CPUs and GPUs, in ten-thousandths."""

    cpus: int
    gpus: int

    @classmethod
    def of(cls, cpus: float, gpus: float) -> Amount:
        """Return the amount for numbers as people write them."""
        return cls(round(cpus * UNIT), round(gpus * UNIT))

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.cpus - other.cpus, self.gpus - other.gpus)

    def __mul__(self, times: int) -> Amount:
        return Amount(self.cpus * times, self.gpus * times)

    def fits(self, room: Amount) -> bool:
        """Tell whether this much is in `room`."""
        return self.cpus <= room.cpus and self.gpus <= room.gpus

    def within(self, room: Amount) -> Amount:
        """Return this, cut down to `room` and to no less than nothing."""
        return Amount(max(0, min(self.cpus, room.cpus)), max(0, min(self.gpus, room.gpus)))


def size(demand: Demand) -> Amount:
    """Return what one worker takes."""
    return Amount.of(demand.cpus, demand.gpus)


def least(demand: Demand) -> int:
    """Return the fewest workers that a job can start with."""
    return max(1, demand.min_workers)


def needed(demand: Demand) -> Amount:
    """Return what a job takes at the least."""
    return size(demand) * least(demand)


def said(amount: int, noun: str) -> str:
    """Return `1 CPU`, `0.5 CPUs`, `4 CPUs`."""
    return f"{amount / UNIT:g} {noun}{'' if amount == UNIT else 's'}"
