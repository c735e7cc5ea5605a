"""The 1,797 handwritten digits of 8x8 pixels that scikit-learn ships (UCI, Alpaydin and Kaynak, 1998)."""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from genworkers.data.dataset import Dataset


def load() -> Dataset:
    """Return the digits, their 17 levels of grey scaled to [-1, 1]."""
    from sklearn.datasets import load_digits  # a second of imports, paid only by who trains on it

    bunch = load_digits()
    levels = np.ascontiguousarray(bunch.images, dtype=np.uint8)
    labels = np.ascontiguousarray(bunch.target, dtype=np.uint8)
    digest = hashlib.sha256(f"pictures uint8 {levels.shape}\n".encode())
    digest.update(levels.tobytes())
    digest.update(f"labels uint8 {labels.shape}\n".encode())
    digest.update(labels.tobytes())
    return Dataset(
        name="digits",
        pictures=torch.from_numpy(levels).float().div(8).sub(1).unsqueeze(1),
        labels=torch.from_numpy(labels).long(),
        digest=digest.hexdigest(),
    )
