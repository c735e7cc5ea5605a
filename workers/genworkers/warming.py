"""What makes a process warm: all that the usual work imports, and one step of training for nobody.

A first step loads more than imports show (the optimizer's alone is a second of them).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import torch

from genworkers.context import SavedCheckpoint
from genworkers.training.job import TrainJob
from genworkers.training.loop import train

# What workers import when they begin, beside the loop.
USUAL = (
    "genworkers.generating.actor",
    "genworkers.generating.shard",
    "genworkers.judging.actor",
    "genworkers.training.actor",
    "genworkers.training.publish",
)
STEP = TrainJob("gan", {}, {"source": "digits"}, None, steps=1, checkpoint_every=1, sheet_every=1, evaluate_every=1)


class Nobody:
    """A RunContext whose word goes nowhere."""

    seed = 0

    def report(self, done: int, total: int, rate: float | None) -> None:
        """Let it be."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Let it be."""

    def log(self, text: str) -> None:
        """Let it be."""

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        """Let it be."""

    def save(self, folder: Path, sha256: str, step: int) -> None:
        """Let it be."""

    def save_best(self, folder: Path, sha256: str, step: int) -> None:
        """Let it be."""

    def sheet(self, data: bytes, step: int, extension: str) -> None:
        """Let it be."""

    def checkpoints(self) -> Sequence[SavedCheckpoint]:
        """Return none."""
        return ()

    def best(self) -> SavedCheckpoint | None:
        """Return none."""
        return None

    def fetch(self, saved: SavedCheckpoint, folder: Path) -> None:
        """Let it be."""

    def should_stop(self) -> str | None:
        """Never stop."""
        return None


def warm_up() -> None:
    """Import it all, and train one step; nothing of it is kept but what Python and PyTorch loaded."""
    for module in USUAL:
        import_module(module)
    torch.set_num_threads(1)
    httpx.Client().close()  # the certificates are read with the first one
    train(STEP, Nobody(), clock=time.monotonic)
