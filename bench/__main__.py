"""Measure: `python -m bench [ROOM or ROOM/NAME]... [--quick]`, as a table, and as JSON in bench/results/.

A measurement is a file bench/ROOM/bench_NAME.py with a `TITLE` and a `measure(quick)` that yields
figures. `--quick` asks for sizes that only show that it runs.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from bench.figures import Figure, heading, machine, save, table

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"


def found(wanted: Sequence[str]) -> list[str]:
    """Return the measurements `ROOM/NAME` that are wanted, or all."""
    every = sorted(f"{p.parent.name}/{p.stem.removeprefix('bench_')}" for p in HERE.glob("*/bench_*.py"))
    for want in wanted:
        if not any(name == want or name.startswith(f"{want}/") for name in every):
            raise SystemExit(f"There is no measurement {want!r}. There are: {', '.join(every)}.")
    return [n for n in every if not wanted or any(n == want or n.startswith(f"{want}/") for want in wanted)]


def main() -> int:
    """Run what was asked for; returns the exit code."""
    arguments = argparse.ArgumentParser(prog="bench", description=__doc__)
    arguments.add_argument("wanted", nargs="*", metavar="ROOM[/NAME]")
    arguments.add_argument("--quick", action="store_true", help="small sizes: that it runs, not how fast")
    given = arguments.parse_args()
    for name in found(given.wanted):
        room, _, noun = name.partition("/")
        module = import_module(f"bench.{room}.bench_{noun}")
        here = machine()
        print(heading(name, module.TITLE, here), flush=True)
        begun, figures = time.monotonic(), list[Figure]()
        for figure in module.measure(quick=given.quick):
            figures.append(figure)
            print(f"  {figure.what}: {figure.said}", flush=True)
        print(f"\n{table(figures)}\n", flush=True)
        if not given.quick:
            save(RESULTS / f"{room}-{noun}.json", module.TITLE, here, figures, time.monotonic() - begun)
    return 0


if __name__ == "__main__":
    sys.exit(main())
