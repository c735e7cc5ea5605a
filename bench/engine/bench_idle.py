"""What the local platform costs while nobody uses it: processes, memory, and CPU, ours and Ray's told apart."""

from __future__ import annotations

import time
from collections.abc import Iterator

import bench.places  # noqa: F401 - makes the helpers of the tests importable
import psutil
from bench.figures import Figure

from whole_platform import WholePlatform, eventually  # isort: skip

TITLE = "the idle local platform: processes, memory and CPU"
SETTLE_SECONDS = 30.0
ROUNDS, ROUND_SECONDS = 5, 20.0
OURS = {"api": "the API", "dispatcher": "the dispatcher and its host", "supervisor": "the supervisor", "redis": "Redis"}
RUNNER = "ray::Runner"


def measure(*, quick: bool) -> Iterator[Figure]:
    """Yield what it takes in each of several stretches of idle time."""
    platform = WholePlatform()
    try:
        platform.up()
        eventually(lambda: any("warm runner" in part["detail"] for part in platform.json("status")["parts"]))
        time.sleep(1 if quick else SETTLE_SECONDS)
        shares: dict[str, list[float]] = {}
        for _ in range(2 if quick else ROUNDS):
            for part, share in cpu(platform, 2 if quick else ROUND_SECONDS).items():
                shares.setdefault(part, []).append(share)
        sizes = memory(platform)
    finally:
        platform.close()
    ours = [sum(each) for each in zip(*(shares[part] for part in OURS.values()), strict=True)]
    yield Figure("processes", [float(sum(count for count, _ in sizes.values()))], "processes")
    for part, (count, size) in sorted(sizes.items()):
        yield Figure(f"memory of {part} ({count} processes, shared pages shared out)", [size], "MiB")
    for part, series in sorted(shares.items()):
        yield Figure(f"CPU of {part}", series, "% of a core")
    yield Figure("CPU of all that is not Ray's", ours, "% of a core", at_most=1)


def cpu(platform: WholePlatform, seconds: float) -> dict[str, float]:
    """Return how much of a core each part takes over so long a time, in percent."""
    before, begun = used(platform), time.monotonic()
    time.sleep(seconds)
    after, took = used(platform), time.monotonic() - begun
    shares = dict.fromkeys([*OURS.values(), "Ray", "the warm runner"], 0.0)
    for process, (part, spent) in after.items():
        shares[part] += (spent - before.get(process, (part, spent))[1]) / took * 100
    return shares


def used(platform: WholePlatform) -> dict[int, tuple[str, float]]:
    """Return each process's part, and the seconds of CPU it has used."""
    found = {}
    for process in psutil.process_iter():
        if platform.owns(process):
            times = process.cpu_times()
            found[process.pid] = part_of(process), times.user + times.system
    return found


def memory(platform: WholePlatform) -> dict[str, tuple[int, float]]:
    """Return, for each part, how many processes it is and their memory in MiB."""
    sizes: dict[str, tuple[int, float]] = {}
    for process in psutil.process_iter():
        if platform.owns(process):
            count, size = sizes.get(part_of(process), (0, 0.0))
            sizes[part_of(process)] = count + 1, size + process.memory_full_info().pss / 2**20
    return sizes


def part_of(process: psutil.Process) -> str:
    """Return what a process belongs to, by the mark that the supervisor gave it."""
    if (process.cmdline() or [""])[0].startswith(RUNNER):
        return "the warm runner"
    return OURS.get(process.environ().get("GENCTL_PART", ""), "Ray")
