"""How fast a training goes, and what it takes of the machine."""

from __future__ import annotations

from collections.abc import Callable

import psutil
import torch

REPORT_SECONDS = 0.5
USE_SECONDS = 2.0
MEBIBYTE = 2**20


class Pace:
    """Steps a second over the last few seconds, and whether it is time to say so."""

    def __init__(self, clock: Callable[[], float], step: int) -> None:
        self._clock = clock
        self._marks = [(clock(), step)]
        self.rate: float | None = None

    def is_due(self, step: int) -> bool:
        """Tell whether half a second has passed since the last time this was true."""
        now = self._clock()
        if now - self._marks[-1][0] < REPORT_SECONDS:
            return False
        self._marks = [*self._marks[-9:], (now, step)]
        first, start = self._marks[0]
        self.rate = (step - start) / (now - first)
        return True


class Use:
    """What this process takes of the machine: memory, and the share of its processors or of its GPU."""

    def __init__(self, clock: Callable[[], float], threads: int) -> None:
        self._clock, self._threads = clock, max(1, threads)
        self._process = psutil.Process()
        self._told = clock()
        self._process.cpu_percent()

    def look(self) -> dict[str, float]:
        """Return what is in use now, empty when it was told a moment ago.

        `memory_mib` is the process's; `cpu_percent` is of as many cores as it has threads for its numbers;
        of a GPU, its own memory and how busy it is, where the driver tells.
        """
        now = self._clock()
        if now - self._told < USE_SECONDS:
            return {}
        self._told = now
        found = {
            "memory_mib": self._process.memory_info().rss / MEBIBYTE,
            "cpu_percent": self._process.cpu_percent() / self._threads,
        }
        return found | _gpu()


def _gpu() -> dict[str, float]:
    if not torch.cuda.is_available():
        return {}
    found = {"gpu_memory_mib": torch.cuda.max_memory_allocated() / MEBIBYTE}
    try:
        found["gpu_percent"] = float(torch.cuda.utilization())
    except (ImportError, RuntimeError):  # needs the driver's own library in Python
        return found
    return found
