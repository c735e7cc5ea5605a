"""The judge of pictures: real and drawn ones in one feature space, and both anchors measured as a model would be."""

from __future__ import annotations

import torch
from torch import Tensor

from genplatform.errors import BadRequest
from genworkers.judging import anchors, likelihood, seen
from genworkers.judging.coverage import coverage
from genworkers.judging.distances import frechet, kernel
from genworkers.judging.features import DIMS, FeatureSpace, feature_space
from genworkers.judging.neighbours import copy_threshold, nearest, precision_recall
from genworkers.judging.report import Asked, Findings, Subject, Watch, draw

# More rows of the data than these sharpen a number less than they cost.
MOST_ROWS = 10_000
# A covariance of so many numbers cannot be taken of fewer rows.
FEWEST_ROWS = 2 * DIMS


def judge_pictures(subject: Subject, asked: Asked, watch: Watch) -> Findings:
    """Measure `asked.samples` drawn pictures, the held-out ones and Gaussian ones, each against the training part."""
    _refuse_unfit(subject, asked)
    data = _Data(subject, asked.samples)
    watch.at(0, asked.samples)
    space = feature_space(data.train, data.labels, data.held_out, data.held_out_labels)
    watch.at(0, asked.samples)
    measures = _Measures(space, data)
    found = {anchors.GAUSSIAN: measures.of(anchors.gaussian(data.train, asked.samples, asked.seed))}
    notes = []
    if len(data.held_out) >= FEWEST_ROWS:
        found = {anchors.HELD_OUT: measures.of(data.held_out)} | found
    else:
        notes.append(f"{len(data.held_out)} items are held out, too few to be an anchor: at least {FEWEST_ROWS} are.")
    about = {name: anchors.ABOUT[name] for name in found}
    for name, other in subject.others():
        found[name] = measures.of(seen.of_payloads(draw(other, asked, watch)))
    values = measures.of(seen.of_payloads(draw(subject, asked, watch)))
    bits = _bits(subject)
    if bits is not None:
        values["bits_per_dim"], of_bits = bits
        found |= {name: {"bits_per_dim": value} for name, value in of_bits.items()}
        about |= {name: likelihood.ABOUT[name] for name in of_bits}
    rows = {"samples": asked.samples, "train": len(data.train), "held_out": len(data.held_out)}
    return Findings(values, found, about, space.about() | {"pixels": list(data.train.shape[1:])}, rows, notes)


class _Data:
    """The rows of the data that are looked at: the first of each part, which are in a random order."""

    def __init__(self, subject: Subject, samples: int) -> None:
        dataset, parts = subject.dataset, subject.parts
        train = parts["train"][:MOST_ROWS]
        # No more than there are samples: a distance depends on the number of rows.
        held_out = torch.cat([parts["validation"], parts["test"]])[: min(samples, MOST_ROWS)]
        self.train, self.held_out = seen.of_dataset(dataset, train), _rows(subject, held_out)
        self.labels = None if dataset.labels is None else dataset.labels[train]
        self.held_out_labels = None if dataset.labels is None else dataset.labels[held_out]


class _Measures:
    """All metrics of a set of pictures, against the training part."""

    def __init__(self, space: FeatureSpace, data: _Data) -> None:
        self._space = space
        self._train = space.of(data.train)
        self._train_pixels = _pixels(data.train)
        self._train_classes = space.read(data.train) if space.classes else None
        near = nearest(_pixels(data.held_out), self._train_pixels) if len(data.held_out) else None
        self._copy = None if near is None else copy_threshold(near)

    def of(self, pictures: Tensor) -> dict[str, float]:
        features = self._space.of(pictures)
        found = {
            "frechet_distance": frechet(self._train, features),
            "kernel_distance": kernel(self._train, features),
            **precision_recall(self._train, features)._asdict(),
        }
        if self._train_classes is not None:
            found |= coverage(self._space.read(pictures), self._train_classes, self._space.classes)._asdict()
        near = nearest(_pixels(pictures), self._train_pixels)
        found["nearest_training_distance"] = float(near.mean())
        if self._copy is not None:
            found["near_copies"] = float((near <= self._copy).double().mean())
        return found


def _pixels(pictures: Tensor) -> Tensor:
    return pictures.flatten(1).double()


def _rows(subject: Subject, indices: Tensor) -> Tensor:
    if len(indices):
        return seen.of_dataset(subject.dataset, indices)
    return seen.of_dataset(subject.dataset, subject.parts["train"][:1])[:0]


def _bits(subject: Subject) -> tuple[float, dict[str, float]] | None:
    """Return the bound that the model's training found, and its anchors; None where the family has none."""
    bits, levels = subject.known.get("validation_bits_per_dim"), getattr(subject.sampler.recipe.config, "levels", None)
    validation = subject.parts["validation"][:MOST_ROWS]
    if bits is None or not isinstance(levels, int) or not len(validation):
        return None
    train = subject.parts["train"][:MOST_ROWS]
    learned, unseen = (
        (subject.dataset.rows(some)["x"] for some in torch.split(part, seen.ROWS_AT_ONCE))
        for part in (train, validation)
    )
    return float(bits), likelihood.bits_anchors(learned, unseen, levels)


def _refuse_unfit(subject: Subject, asked: Asked) -> None:
    """Raise BadRequest for data that the model's pictures cannot be held against."""
    learned = len(subject.parts["train"])
    if min(learned, asked.samples) < FEWEST_ROWS:
        raise BadRequest(
            f"{asked.samples:,} samples and {learned:,} training items are too few to be compared.",
            f"Give at least {FEWEST_ROWS} of each.",
        )
    config, there = subject.sampler.recipe.config, subject.dataset.shape
    drawn = tuple(getattr(config, side, None) for side in ("height", "width", "channels"))
    if there is not None and None not in drawn and drawn != tuple(there):
        made, found = (f"{height}x{width}, {channels} channels" for height, width, channels in (drawn, there))
        raise BadRequest(
            f"The model draws pictures of {made}, and those of {subject.dataset.name} are {found}.",
            "Judge it on data of its own kind: `data.size` and `data.channels` bring files to its size.",
        )
