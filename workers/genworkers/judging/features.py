"""The space in which pictures are compared: made here from the data itself, for nothing is downloaded.

Where the data has classes, the space is the last hidden layer of a small classifier that is trained on the training
part. Where it has none, it is the same network with random weights: nonlinear, unlike pixels or their principal
components, in which the Gaussian baseline could not be told from the data by its first two moments. Either way
features are scaled to unit variance on the training part (the raw ones' size is a lottery of the weights), everything
is a function of the data and fixed seeds, and the weights' digest says whether two numbers are of one space.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from genworkers.data.dataset import Order

DIMS = 32
STEPS = 400
BATCH = 64
LEARNING_RATE = 2e-3
SEED = 0
ROWS_AT_ONCE = 512
# Fewer items a class than this teach no classifier.
FEWEST_OF_A_CLASS = 10

CLASSIFIER, RANDOM = "classifier", "random_convolution"


class _Network(nn.Module):
    """Convolutions that halve the picture until it is small, a layer of features, and a class a number."""

    def __init__(self, shape: torch.Size, classes: int) -> None:
        super().__init__()
        channels, height, width = shape
        stride = 2 if max(height, width) > 16 else 1
        layers: list[nn.Module] = [
            nn.Conv2d(channels, 24, 3, padding=1, stride=stride), nn.ReLU(),
            nn.Conv2d(24, 48, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True),
        ]  # fmt: skip
        if stride == 2:
            layers += [nn.Conv2d(48, 48, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)]
        body = nn.Sequential(*layers, nn.Flatten())
        inside = body(torch.zeros(1, channels, height, width)).shape[1]
        self.body = body.append(nn.Linear(inside, DIMS))
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(DIMS, classes))

    def forward(self, pictures: Tensor) -> Tensor:
        scores: Tensor = self.head(self.body(pictures))
        return scores


@dataclass(frozen=True)
class FeatureSpace:
    """Features of pictures (rows, channels, height, width), and what they are of."""

    name: str
    classes: int  # that it can tell apart; 0: none
    digest: str
    accuracy: float | None  # on the held-out items
    _network: _Network
    _mean: Tensor
    _scale: Tensor

    def of(self, pictures: Tensor) -> Tensor:
        """Return the pictures' features as float64 (rows, dims): mean 0 and variance 1 on the training part."""
        return (_raw(self._network, pictures) - self._mean) / self._scale

    def read(self, pictures: Tensor) -> Tensor:
        """Return the class that each picture seems to show."""
        with torch.no_grad():
            return torch.cat([self._network(some).argmax(1) for some in torch.split(pictures, ROWS_AT_ONCE)])

    def about(self) -> dict[str, Any]:
        """Return what a person must know to read a number of this space."""
        told = {
            CLASSIFIER: f"the last hidden layer of a small CNN trained for {STEPS} steps to tell the data's classes",
            RANDOM: "a small CNN with fixed random weights, for the data has no classes to learn",
        }
        return {
            "name": self.name,
            "about": f"{told[self.name]}; each of its {DIMS} numbers has variance 1 on the training part",
            "dims": DIMS,
            "digest": self.digest,
            "accuracy": self.accuracy,
        }


def feature_space(
    train: Tensor, labels: Tensor | None, held_out: Tensor | None = None, held_out_labels: Tensor | None = None
) -> FeatureSpace:
    """Return the space for training pictures with these class numbers; leaves torch's random state as it is."""
    classes = _classes(labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = _Network(train.shape[1:], max(1, classes))
        if labels is not None and classes:
            _learn(network, train, labels)
    network.eval()
    raw = _raw(network, train)
    scale = raw.std(0)
    # What never varies tells nothing, and must not be blown up.
    scale = torch.where(scale > 1e-9, scale, torch.ones_like(scale))
    space = FeatureSpace(
        CLASSIFIER if classes else RANDOM, classes, _digest(network), None, network, raw.mean(0), scale
    )
    if not classes or held_out is None or held_out_labels is None or not len(held_out):
        return space
    right = (space.read(held_out) == held_out_labels).double().mean()
    return FeatureSpace(**{**space.__dict__, "accuracy": float(right)})


def _classes(labels: Tensor | None) -> int:
    """Return how many classes a classifier can learn from these; 0 where there are none, or too few of each."""
    if labels is None or not len(labels):
        return 0
    classes = int(labels.max()) + 1
    return classes if classes >= 2 and len(labels) >= FEWEST_OF_A_CLASS * classes else 0


def _learn(network: _Network, pictures: Tensor, labels: Tensor) -> None:
    adam = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    order = Order(torch.arange(len(pictures)), min(BATCH, len(pictures)), SEED)
    for step in range(STEPS):
        rows = order.batch(step)
        adam.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(network(pictures[rows]), labels[rows]))
        adam.step()


def _raw(network: _Network, pictures: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([network.body(some) for some in torch.split(pictures, ROWS_AT_ONCE)]).double()


def _digest(network: _Network) -> str:
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
