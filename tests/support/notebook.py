"""A training loop without a platform: a RunContext that keeps everything, and small jobs for it."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genplatform.errors import NotFound
from genworkers import models
from genworkers.context import SavedCheckpoint
from genworkers.training import loop
from genworkers.training.job import TrainJob
from genworkers.training.loop import Trained

# What the machine had to give at the time, and no other run will see again.
OF_THE_MACHINE = frozenset({"memory_mib", "cpu_percent"})

SMALL = {"generator_widths": [16], "discriminator_widths": [16], "latent_dim": 8, "batch_size": 16}


class Notebook:
    """A RunContext that keeps everything in memory and in one folder."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.seed = seed
        self.folder = Path(tempfile.mkdtemp(dir=folder))
        self.saved: list[SavedCheckpoint] = []
        self.bests: list[SavedCheckpoint] = []
        self.lines: list[str] = []
        self.events: list[str] = []
        self.points: list[tuple[int, dict[str, float]]] = []
        self.sheets: dict[int, bytes] = {}
        self.reports: list[tuple[int, int]] = []
        self.stop_at: dict[int, str] = {}
        self._asked = itertools.count()

    def report(self, done: int, total: int, rate: float | None) -> None:
        self.reports.append((done, total))

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self.points.append((step, {name: value for name, value in values.items() if name not in OF_THE_MACHINE}))

    def log(self, text: str) -> None:
        self.lines.append(text)

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        self.events.append(kind)

    def save(self, folder: Path, sha256: str, step: int) -> None:
        kept = self.folder / f"step-{step}-{len(self.saved)}"
        shutil.copytree(folder, kept)
        self.saved.insert(0, SavedCheckpoint(str(kept), sha256, step))

    def save_best(self, folder: Path, sha256: str, step: int) -> None:
        kept = self.folder / f"best-{step}-{len(self.bests)}"
        shutil.copytree(folder, kept)
        self.bests.insert(0, SavedCheckpoint(str(kept), sha256, step))

    def sheet(self, data: bytes, step: int, extension: str) -> None:
        self.sheets[step] = data

    def checkpoints(self) -> Sequence[SavedCheckpoint]:
        return list(self.saved)

    def best(self) -> SavedCheckpoint | None:
        return self.bests[0] if self.bests else None

    def fetch(self, saved: SavedCheckpoint, folder: Path) -> None:
        if not Path(saved.key).exists():
            raise NotFound(f"There is no {saved.key}.")
        folder.mkdir()
        for path in Path(saved.key).iterdir():
            (folder / path.name).write_bytes(path.read_bytes())

    def should_stop(self) -> str | None:
        return self.stop_at.get(next(self._asked))


def job(**changes: Any) -> TrainJob:
    base: dict[str, Any] = {
        "recipe": "gan",
        "params": SMALL,
        "data": {"source": "digits"},
        "split": None,
        "steps": 50,
        "checkpoint_every": 20,
        "sheet_every": 25,
        "evaluate_every": 20,
    }
    return TrainJob(**base | changes)


def train(notebook: Notebook, **changes: Any) -> Trained:
    ticks = itertools.count()
    return loop.train(job(**changes), notebook, clock=lambda: next(ticks) / 4)


def weights(trained: Trained, folder: Path) -> str:
    digest = models.write_weights(trained.recipe, trained.state.modules, folder / "weights.safetensors")
    assert digest is not None
    return digest
