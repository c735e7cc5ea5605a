"""What a measurement says: figures with their spread, the machine in words, a table and JSON.

A figure is one number a round, so that its spread is seen. What is compared is measured in turns
within one round, and the figure is the ratio of each round: whatever else the machine was doing,
it did to both.
"""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import psutil


@dataclass(frozen=True)
class Figure:
    """One thing measured, a number a round. `at_most` or `at_least` is what was promised of its median.

    `of` holds the series that a ratio was made of, by their names, a number a round each.
    """

    what: str
    samples: Sequence[float]
    unit: str = "x"
    at_most: float | None = None
    at_least: float | None = None
    of: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return median(self.samples)

    @property
    def said(self) -> str:
        """The figure in words: `1.62x (1.55 to 1.71)`."""
        unit = self.unit if self.unit == "x" else f" {self.unit}"
        return f"{short(self.median)}{unit} ({short(min(self.samples))} to {short(max(self.samples))})"

    @property
    def promised(self) -> str:
        """What was promised of it."""
        if self.at_most is not None:
            return f"at most {short(self.at_most)}"
        return f"at least {short(self.at_least)}" if self.at_least is not None else ""

    @property
    def is_kept(self) -> bool | None:
        """Whether the promise is kept; None where there is none."""
        if self.at_most is not None:
            return self.median <= self.at_most
        return self.median >= self.at_least if self.at_least is not None else None

    def as_json(self) -> dict[str, Any]:
        """Return the figure as it is kept."""
        return {
            "what": self.what,
            "unit": self.unit,
            "median": self.median,
            "least": min(self.samples),
            "most": max(self.samples),
            "rounds": list(self.samples),
            "promised": self.promised or None,
            "kept": self.is_kept,
            "of": {name: list(series) for name, series in self.of.items()},
        }


def ratio(what: str, ours: Sequence[float], theirs: Sequence[float], names: tuple[str, str], **more: Any) -> Figure:
    """Return the figure of ours to theirs, round by round. `names` says what the two series are."""
    samples = [a / b for a, b in zip(ours, theirs, strict=True)]
    return Figure(what, samples, of=dict(zip(names, (ours, theirs), strict=True)), **more)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of the values do not pass."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def machine() -> dict[str, Any]:
    """Return the machine in words: nothing that names it or where anything lies on it."""
    return {
        "kind": f"{_processor()}, {platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "load_before": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else ():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or "unknown processor"


def heading(name: str, title: str, here: Mapping[str, Any]) -> str:
    """Return the first lines of a measurement's report."""
    words = f"{here['kind']}, {here['cores']} cores, {here['memory_gib']} GiB, Python {here['python']}"
    return f"{name}: {title}\n  {words}, load {here['load_before']}"


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as a table: median, spread, promise."""
    rows = [("figure", "median", "least", "most", "unit", "promised", "kept")]
    for one in figures:
        kept = {True: "yes", False: "NO", None: ""}[one.is_kept]
        numbers = (short(one.median), short(min(one.samples)), short(max(one.samples)))
        rows.append((one.what, *numbers, one.unit, one.promised, kept))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def save(path: Path, title: str, here: Mapping[str, Any], figures: Sequence[Figure], seconds: float) -> None:
    """Keep a measurement's figures as JSON."""
    path.parent.mkdir(exist_ok=True)
    document = {
        "title": title,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "machine": dict(here),
        "figures": [figure.as_json() for figure in figures],
    }
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(f"kept in {path.parent.name}/{path.name}", file=sys.stderr)


def short(number: float) -> str:
    """Return a number with three significant digits, or whole with its thousands apart."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"
