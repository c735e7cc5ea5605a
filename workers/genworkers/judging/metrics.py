"""The metrics by name: what each says, and which way is better. Higher is not better where a number has an ideal."""

from __future__ import annotations

from typing import Literal, NamedTuple

Better = Literal["lower", "higher"]


class Metric(NamedTuple):
    """Which way is better, and what the number is."""

    better: Better
    about: str


METRICS: dict[str, Metric] = {
    "frechet_distance": Metric("lower", "squared Fréchet distance of features to the training part's"),
    "kernel_distance": Metric("lower", "unbiased squared MMD of features to the training part's, cubic kernel"),
    "precision": Metric("higher", "share of samples within the training part's manifold, k = 5"),
    "recall": Metric("higher", "share of the training part within the samples' manifold, k = 5"),
    "class_coverage": Metric("higher", "share of the data's classes drawn at least a tenth as often as they occur"),
    "smallest_class": Metric("higher", "share of samples in the rarest class"),
    "nearest_training_distance": Metric("higher", "mean distance in pixels to the nearest training item"),
    "near_copies": Metric("lower", "share of samples nearer to a training item than 99 in 100 held-out items are"),
    "psnr": Metric("higher", "mean peak signal-to-noise ratio to the held-out pictures, in decibels"),
    "ssim": Metric("higher", "mean structural similarity to the held-out pictures"),
    "perplexity": Metric("lower", "of a token of held-out text"),
    "bits_per_byte": Metric("lower", "bits that a byte of held-out text costs"),
    "bits_per_dim": Metric("lower", "bits that a number of an unseen item costs"),
}
