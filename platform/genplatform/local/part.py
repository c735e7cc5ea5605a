"""One part of the local platform, as data: a program, what it needs, and how one asks whether it is ready."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


def _at_once() -> bool:
    return True


@dataclass(frozen=True)
class Part:
    """One part. With an empty `argv` there is nothing to run: it is somebody else's, and counts as up.

    `needs` must be up before each start. A part that runs `once` is up when it has ended with 0.
    `deaths` in a row, without having been up for a while, make it failed (it is still tried again, slowly);
    `stop_turn` orders the stopping, equal ones at the same time.
    """

    name: str
    argv: Sequence[str] = ()
    env: Mapping[str, str | None] = field(default_factory=dict)
    needs: Sequence[str] = ()
    ready: Callable[[], bool] = _at_once
    port: int | None = None
    detail: str = ""
    hint: str = ""
    once: bool = False
    deaths: int = 5
    start_seconds: float = 60.0
    stop_seconds: float = 5.0
    stop_turn: int = 1
