"""What a training measured, as it is followed: the newest values, and curves small enough for a line of text."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from genctl import text

WIDTH = 20
MOST_POINTS = 2000
BLOCKS = "▁▂▃▄▅▆▇█"

# How names end that tell of the optimizer and of the machine, and not of the model.
OF_THE_OPTIMIZER = ("learning_rate", "gradient_norm", "loss_scale")
OF_THE_MACHINE = {"memory_mib": ("memory", "MiB"), "cpu_percent": ("CPU", "%"), "gpu_percent": ("GPU", "%")}


@dataclass
class Curves:
    """Every metric of one job: its newest value, and its points, of the run that counts."""

    newest: dict[str, Any] = field(default_factory=dict)
    _points: dict[str, list[tuple[int, float]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, step: int, values: Mapping[str, Any]) -> None:
        """Take what was measured at a step; a run that goes on from before it takes later points away."""
        self.newest |= values
        for name, value in values.items():
            if not isinstance(value, int | float) or not math.isfinite(value):
                continue
            points = self._points[name]
            while points and points[-1][0] >= step:
                points.pop()
            points.append((step, float(value)))
            del points[:-MOST_POINTS]

    def of_the_model(self) -> list[str]:
        """Return the names of what tells how good the model is, as they came."""
        return [name for name in self.newest if not name.endswith((*OF_THE_OPTIMIZER, *OF_THE_MACHINE))]

    def drawn(self, most: int) -> Iterator[str]:
        """Yield the first metrics of the model, each with its curve where it has one."""
        for name in self.of_the_model()[:most]:
            curve = sparkline([value for _, value in self._points.get(name, ())])
            yield "  ".join(filter(None, (text.clean(name), curve, text.number(self.newest[name]))))

    def of_the_rest(self) -> Iterator[str]:
        """Yield, in words, what is known of the optimizers and the machine; several optimizers' stand together."""
        for end in OF_THE_OPTIMIZER:
            values = [text.number(value) for name, value in self.newest.items() if name.endswith(end)]
            if values:
                yield f"{end.replace('_', ' ')} {' / '.join(dict.fromkeys(values))}"
        for name, word, unit in (
            ("memory_mib", "memory", "MiB"),
            ("cpu_percent", "CPU", "%"),
            ("gpu_percent", "GPU", "%"),
        ):
            value = self.newest.get(name)
            if isinstance(value, int | float) and math.isfinite(value):
                yield f"{word} {value:.0f} {unit}"


def sparkline(values: Sequence[float], width: int = WIDTH) -> str:
    """Return a curve as blocks, each the mean of its share of the values, from their least to their greatest.

    Empty where there are fewer than two values.
    """
    if len(values) < 2:
        return ""
    count = min(width, len(values))
    ends = [len(values) * n // count for n in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(ends)]
    least, greatest = min(means), max(means)
    if not math.isfinite(greatest - least) or greatest <= least:
        return BLOCKS[0] * count
    return "".join(BLOCKS[round((mean - least) / (greatest - least) * (len(BLOCKS) - 1))] for mean in means)
