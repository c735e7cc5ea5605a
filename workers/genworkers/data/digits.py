"""The 1,797 handwritten digits of 8x8 pixels that scikit-learn ships (UCI, Alpaydin and Kaynak, 1998)."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from genplatform.errors import NotFound
from genworkers.data.dataset import Dataset, PairedPictures, Pictures

SIDE = 8


def load() -> Dataset:
    """Return the digits, their 17 levels of grey scaled to [-1, 1]."""
    # A row a picture: its pixels, then its label. Importing scikit-learn to read them would take a second.
    rows = np.loadtxt(_file(), delimiter=",", dtype=np.uint8)
    levels = np.ascontiguousarray(rows[:, :-1].reshape(-1, SIDE, SIDE))
    labels = np.ascontiguousarray(rows[:, -1])
    digest = hashlib.sha256(f"pictures uint8 {levels.shape}\n".encode())
    digest.update(levels.tobytes())
    digest.update(f"labels uint8 {labels.shape}\n".encode())
    digest.update(labels.tobytes())
    return Pictures(
        name="digits",
        pictures=torch.from_numpy(levels).float().div(8).sub(1).unsqueeze(1),
        labels=torch.from_numpy(labels).long(),
        digest=digest.hexdigest(),
    )


def outlines() -> Dataset:
    """Return pairs: each digit's outline, what its brightness changes by from pixel to pixel, and the digit."""
    digits = load()
    x = digits.rows(torch.arange(len(digits)))["x"]
    down, right = x.diff(dim=2, append=x[:, :, -1:]).abs(), x.diff(dim=3, append=x[..., -1:]).abs()
    digest = hashlib.sha256(f"{digits.digest} outlines\n".encode()).hexdigest()
    return PairedPictures("outlines of digits", x, digits.labels, digest, 1 - torch.maximum(down, right))


def _file() -> Path:
    installed = find_spec("sklearn")
    if installed is None or not installed.submodule_search_locations:
        raise NotFound("scikit-learn, which brings the digits, is not installed.", "Install scikit-learn.")
    return Path(installed.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
