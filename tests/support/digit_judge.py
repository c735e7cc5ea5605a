"""A judge of digits: a small classifier trained here on real digits, and distances in its features.

The Fréchet distance is the one of Heusel et al. 2017 (FID) with this classifier's 32
features, each scaled to unit variance on the training digits, in place of Inception's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import sqrtm
from torch import Tensor, nn

from genworkers.data.dataset import split_indices
from genworkers.data.sources import open_source

EPOCHS = 40
BATCH = 64


class _Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 24, 3, padding=1), nn.ReLU(),
            nn.Conv2d(24, 48, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(48 * 16, 32),
        )  # fmt: skip
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(32, 10))

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(self.body(pictures))


@dataclass(frozen=True)
class Digits:
    """Real digits as the platform splits them: rows of 1x8x8 pixels in [-1, 1]."""

    train: Tensor
    held_out: Tensor
    train_labels: Tensor
    held_out_labels: Tensor


class Judge:
    """Tells how far a set of pictures is from the training digits."""

    def __init__(self) -> None:
        self.digits = _digits()
        self._net = _trained(self.digits.train, self.digits.train_labels)
        features = self._features(self.digits.train)
        self._mean, self._scale = features.mean(0), features.std(0) + 1e-6
        self._train = self.scaled(self.digits.train)

    def accuracy(self) -> float:
        """The share of held-out digits that the classifier reads right."""
        guesses = self.classes(self.digits.held_out)
        return float((guesses == self.digits.held_out_labels).float().mean())

    def classes(self, pictures: Tensor) -> Tensor:
        """Which digit each picture shows."""
        with torch.no_grad():
            return self._net(pictures).argmax(1)

    def scaled(self, pictures: Tensor) -> np.ndarray:
        """The pictures' features, z-scored on the training digits."""
        return ((self._features(pictures) - self._mean) / self._scale).double().numpy()

    def frechet(self, pictures: Tensor) -> float:
        """The Fréchet distance to the training digits."""
        one, other = self._train, self.scaled(pictures)
        a, b = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
        cross = sqrtm(a @ b)
        difference = one.mean(0) - other.mean(0)
        return float(difference @ difference + np.trace(a + b - 2 * np.real(cross)))

    def nearest_training_distance(self, pictures: Tensor) -> float:
        """The mean L2 distance, in pixels, to the nearest training digit."""
        return float(torch.cdist(pictures.flatten(1), self.digits.train.flatten(1)).min(1).values.mean())

    def gaussian(self, count: int) -> Tensor:
        """Pictures from the full-covariance Gaussian in pixels: the best there is without learning."""
        rows = self.digits.train.flatten(1).double().numpy()
        drawn = np.random.default_rng(0).multivariate_normal(rows.mean(0), np.cov(rows, rowvar=False), size=count)
        return torch.tensor(drawn, dtype=torch.float32).reshape(-1, 1, 8, 8)

    def _features(self, pictures: Tensor) -> Tensor:
        with torch.no_grad():
            return self._net.body(pictures)


def _digits() -> Digits:
    from sklearn.datasets import load_digits

    dataset = open_source({"source": "digits"})
    labels = torch.as_tensor(load_digits().target)
    parts = split_indices(len(dataset), None)
    held = torch.cat([parts["validation"], parts["test"]])
    pictures = dataset.pictures
    return Digits(pictures[parts["train"]], pictures[held], labels[parts["train"]], labels[held])


def _trained(pictures: Tensor, labels: Tensor) -> _Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = _Classifier()
        adam = torch.optim.Adam(net.parameters(), lr=2e-3)
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(pictures)).split(BATCH):
                adam.zero_grad()
                nn.functional.cross_entropy(net(pictures[rows]), labels[rows]).backward()
                adam.step()
    return net.eval()
