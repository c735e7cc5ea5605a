"""The metrics of the judge on real digits, against other people's code, and what a judgement says."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn

from genplatform.errors import BadRequest
from genplatform.spec import METRICS as METRICS_OF_SPECS
from genworkers.data.dataset import Dataset, Pictures, split
from genworkers.data.sources import open_source
from genworkers.judging import anchors, distances, features, likelihood, neighbours, seen
from genworkers.judging.coverage import coverage
from genworkers.judging.features import FeatureSpace, feature_space
from genworkers.judging.metrics import METRICS
from genworkers.judging.report import Asked, Stopped, Subject, Watch, judge
from genworkers.recipes import registry
from genworkers.recipes.base import Recipe, RecipeConfig
from genworkers.sampler import Sampler

SAMPLES = 256


@pytest.fixture(autouse=True, scope="module")
def _a_quicker_space() -> Iterator[None]:
    """A classifier that is trained half as long is good enough of digits."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "STEPS", 200)
        yield


@dataclasses.dataclass(frozen=True)
class Digits:
    train: Tensor
    held_out: Tensor
    labels: Tensor
    held_out_labels: Tensor
    space: FeatureSpace


@pytest.fixture(scope="module")
def digits() -> Digits:
    """Real digits, and the space that the judge makes for them."""
    dataset = open_source({"source": "digits"})
    parts, _ = split(dataset)
    held_out = torch.cat([parts["validation"], parts["test"]])
    assert dataset.labels is not None
    rows = seen.of_dataset(dataset, parts["train"]), seen.of_dataset(dataset, held_out)
    labels = dataset.labels[parts["train"]], dataset.labels[held_out]
    return Digits(*rows, *labels, feature_space(rows[0], labels[0], rows[1], labels[1]))


class _AsTheyAre(nn.Module):
    """The feature extractor that torchmetrics is given: it gets features and returns them."""

    num_features = features.DIMS

    def forward(self, rows: Tensor) -> Tensor:
        return rows.double()


def both(digits: Digits) -> tuple[Tensor, Tensor]:
    """Features of real digits, and of Gaussian ones, which differ."""
    return digits.space.of(digits.train), digits.space.of(anchors.gaussian(digits.train, 400, 1))


def test_the_frechet_distance_is_the_one_of_torchmetrics(digits: Digits) -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance

    real, drawn = both(digits)
    oracle = FrechetInceptionDistance(feature=_AsTheyAre(), input_img_size=(features.DIMS,), normalize=True)
    oracle.set_dtype(torch.float64)
    oracle.update(real, real=True)
    oracle.update(drawn, real=False)

    assert distances.frechet(real, drawn) == pytest.approx(float(oracle.compute()), rel=1e-6)
    assert distances.frechet(real, real) == pytest.approx(0, abs=1e-9)
    assert distances.frechet(real, drawn) == pytest.approx(distances.frechet(drawn, real))


def test_the_kernel_distance_is_the_one_of_torchmetrics(digits: Digits) -> None:
    from torchmetrics.image.kid import KernelInceptionDistance

    real, drawn = (rows[:400] for rows in both(digits))
    # One subset of all rows: its mean over random subsets is then the distance itself.
    oracle = KernelInceptionDistance(feature=_AsTheyAre(), subsets=1, subset_size=400, normalize=True)
    oracle.update(real, real=True)
    oracle.update(drawn, real=False)

    assert distances.kernel(real, drawn) == pytest.approx(float(oracle.compute()[0]), rel=1e-6)


def test_distances_of_more_rows_than_are_looked_at_at_once_are_the_same(
    digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, drawn = both(digits)

    def found() -> tuple[Any, ...]:
        near = neighbours.nearest(drawn, real)
        return distances.kernel(real, drawn), *neighbours.precision_recall(real, drawn), float(near.sum())

    whole = found()
    for module in (distances, neighbours):
        monkeypatch.setattr(module, "ROWS_AT_ONCE", 37)

    assert found() == pytest.approx(whole, rel=1e-12)


def test_precision_and_recall_are_those_of_counting_neighbours(digits: Digits) -> None:
    real, drawn = both(digits)

    def inside(rows: Tensor, manifold: Tensor) -> float:
        """scikit-learn's neighbours: the row itself is the first of its own."""
        trees = NearestNeighbors(n_neighbors=neighbours.K + 1, algorithm="brute").fit(manifold.numpy())
        radii = trees.kneighbors(manifold.numpy())[0][:, -1]
        apart = np.linalg.norm(rows.numpy()[:, None] - manifold.numpy()[None], axis=2)
        return float((apart <= radii).any(1).mean())

    found = neighbours.precision_recall(real, drawn)

    assert found.precision == pytest.approx(inside(drawn, real))
    assert found.recall == pytest.approx(inside(real, drawn))
    assert found.precision < found.recall


def test_a_model_that_repeats_one_class_has_precision_and_no_recall(digits: Digits) -> None:
    real, threes = digits.space.of(digits.train), digits.space.of(digits.train[digits.labels == 3])

    found = neighbours.precision_recall(real, threes)

    assert found.precision > 0.99
    assert found.recall < 0.2
    drawn, seen_in_data = digits.space.read(digits.train[digits.labels == 3]), digits.space.read(digits.train)
    assert coverage(drawn, seen_in_data, 10).class_coverage <= 0.2
    assert coverage(seen_in_data, seen_in_data, 10) == (1.0, pytest.approx(0.1, abs=0.02))


def test_copies_of_the_training_part_are_told_from_what_was_never_seen(digits: Digits) -> None:
    pixels, unseen = digits.train.flatten(1).double(), digits.held_out.flatten(1).double()
    threshold = neighbours.copy_threshold(neighbours.nearest(unseen, pixels))
    copies = pixels[:200] + 0.01 * torch.randn(200, 64, generator=torch.Generator().manual_seed(0)).double()

    assert (neighbours.nearest(copies, pixels) <= threshold).all()
    assert (neighbours.nearest(unseen, pixels) <= threshold).double().mean() < 0.02


def test_the_anchors_of_digits_are_far_apart(digits: Digits) -> None:
    space, real = digits.space, digits.space.of(digits.train)

    held_out = distances.frechet(real, space.of(digits.held_out))
    gaussian = distances.frechet(real, space.of(anchors.gaussian(digits.train, 1257, 0)))

    assert space.accuracy is not None
    assert space.accuracy > 0.95
    assert held_out < 1
    assert gaussian > 5 * held_out


def test_the_gaussian_has_the_mean_and_the_covariance_of_the_pixels(digits: Digits) -> None:
    narrow = digits.train * 0.2  # so that nothing is clipped

    drawn = anchors.gaussian(narrow, 20_000, 0).flatten(1).double()

    real = narrow.flatten(1).double()
    assert (drawn.mean(0) - real.mean(0)).abs().max() < 0.005
    assert (torch.cov(drawn.T) - torch.cov(real.T)).abs().max() < 0.002


def test_without_classes_random_convolutions_still_tell_the_gaussian_from_the_data(digits: Digits) -> None:
    space = feature_space(digits.train, None, digits.held_out, None)
    real = space.of(digits.train)

    held_out = distances.frechet(real, space.of(digits.held_out))
    gaussian = distances.frechet(real, space.of(anchors.gaussian(digits.train, 1257, 0)))

    assert (space.name, space.classes, space.accuracy) == ("random_convolution", 0, None)
    assert gaussian > 3 * held_out


def test_a_space_is_a_function_of_the_data_and_leaves_torch_as_it_was(
    digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "STEPS", 5)
    torch.manual_seed(3)
    before = torch.get_rng_state()

    one = feature_space(digits.train, digits.labels)
    state = torch.get_rng_state()
    torch.manual_seed(4)
    same, other = feature_space(digits.train, digits.labels), feature_space(digits.train[1:], digits.labels[1:])

    assert torch.equal(before, state)
    assert one.digest == same.digest
    assert one.digest != other.digest
    assert one.of(digits.train).var(0).tolist() == pytest.approx([1.0] * features.DIMS)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 28), (3, 5, 31), (1, 1, 64), (4, 3, 3)])
def test_pictures_of_any_shape_have_features(shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "STEPS", 2)
    pictures = torch.rand(80, *shape, generator=torch.Generator().manual_seed(0)) * 2 - 1

    space = feature_space(pictures, torch.arange(80) % 2)

    assert space.of(pictures).shape == (80, features.DIMS)
    assert space.of(pictures).isfinite().all()


def test_large_pictures_are_seen_small_and_small_ones_as_they_are() -> None:
    large = np.zeros((40, 64, 3), dtype=np.uint8)
    large[:, 32:] = 255

    (one,) = seen.of_payloads([large])
    (small,) = seen.of_payloads([np.full((8, 8, 1), 255, dtype=np.uint8)])

    assert (one.shape, small.shape) == ((3, 20, 32), (1, 8, 8))
    assert (float(one[:, :, :16].max()), float(one[:, :, 16:].min()), float(small.min())) == (-1.0, 1.0, 1.0)


def test_bits_per_dim_are_held_against_pixels_alone(digits: Digits) -> None:
    found = likelihood.bits_anchors(torch.split(digits.train, 500), torch.split(digits.held_out, 100), 17)

    assert found["uniform"] == pytest.approx(np.log2(17))
    # Of the pixel in the corner, which is always dark: counted by hand.
    dark = likelihood.bits_anchors([torch.full((15, 1, 1, 1), -1.0)], [torch.full((3, 1, 1, 1), -1.0)], 2)
    assert dark["independent_pixels"] == pytest.approx(-np.log2(16 / 17))
    assert 2 < found["independent_pixels"] < 3


class _Again(Recipe[RecipeConfig]):
    """Draws real digits, and counts how many passes it took."""

    name = "again"
    summary = "Digits again."
    Config = RecipeConfig

    def __init__(self, rows: Tensor) -> None:
        super().__init__(RecipeConfig())
        self.rows, self.passes = rows, 0

    def sample(self, modules: nn.ModuleDict, seeds: Tensor, cond: Any) -> Tensor:
        self.passes += 1
        return self.rows[seeds % len(self.rows)]


@cache
def subject_of_digits() -> tuple[Dataset, dict[str, Tensor], dict[str, Any]]:
    dataset = open_source({"source": "digits"})
    return dataset, *split(dataset)


def subject(rows: Tensor, **changes: Any) -> Subject:
    return dataclasses.replace(Subject(Sampler(_Again(rows), nn.ModuleDict(), 64), *subject_of_digits()), **changes)


def value(found: dict[str, Any], metric: str) -> float:
    return float(found["metrics"][metric]["value"])


def test_a_judgement_says_all_that_is_needed_to_read_it(digits: Digits) -> None:
    found = judge(subject(digits.held_out), Asked(samples=SAMPLES))

    assert set(found["metrics"]) == set(METRICS) - {"bits_per_dim", "psnr", "ssim", "perplexity", "bits_per_byte"}
    for metric in found["metrics"].values():
        assert list(metric["anchors"]) == ["held_out", "gaussian"]
    assert set(found["anchors"]) == {"held_out", "gaussian"}
    assert found["rows"] == {"samples": SAMPLES, "train": 1257, "held_out": SAMPLES}
    assert found["split"]["counts"] == {"train": 1257, "validation": 270, "test": 270}
    assert (found["data"], found["samples"], found["seed"], found["notes"]) == ("digits", SAMPLES, 0, [])
    assert found["feature_space"]["name"] == "classifier"
    assert found["feature_space"]["digest"] == digits.space.digest
    for name, metric in found["metrics"].items():
        assert metric["better"] in ("lower", "higher"), name
    distance = found["metrics"]["frechet_distance"]
    assert distance["value"] < 3 * distance["anchors"]["held_out"] < distance["anchors"]["gaussian"]


def test_a_model_that_copies_is_seen_to_copy_however_good_its_distance_is(digits: Digits) -> None:
    copied = judge(subject(digits.train), Asked(samples=SAMPLES))

    assert value(copied, "frechet_distance") < copied["metrics"]["frechet_distance"]["anchors"]["gaussian"] / 5
    assert value(copied, "near_copies") == 1
    assert copied["metrics"]["near_copies"]["anchors"]["held_out"] < 0.05


def test_the_same_question_has_the_same_answer_and_another_seed_another(
    digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "STEPS", 5)

    one, same, other = (judge(subject(digits.held_out), Asked(samples=SAMPLES, seed=seed)) for seed in (7, 7, 8))

    assert one == same
    assert value(one, "frechet_distance") != value(other, "frechet_distance")


def test_only_the_metrics_that_are_asked_for_are_told(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "STEPS", 5)

    found = judge(subject(digits.held_out), Asked(samples=SAMPLES, metrics=("recall",)))

    assert list(found["metrics"]) == ["recall"]
    with pytest.raises(BadRequest, match="'bits_per_dim' cannot be taken"):
        judge(subject(digits.held_out), Asked(samples=SAMPLES, metrics=("bits_per_dim",)))


def test_a_bound_that_training_found_is_told_beside_its_anchors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "STEPS", 5)
    vae = registry.find("vae").configured({"height": 8, "width": 8, "channels": 1, "widths": [16], "latent_dim": 2})
    sampler = Sampler(vae, vae.build().eval(), 64)

    found = judge(subject(torch.zeros(1, 1, 8, 8), sampler=sampler, known={"validation_bits_per_dim": 2.0}), Asked(64))

    bits = found["metrics"]["bits_per_dim"]
    assert bits["value"] == 2.0
    assert list(bits["anchors"]) == ["independent_pixels", "uniform"]
    assert set(found["anchors"]) == {"held_out", "gaussian", "independent_pixels", "uniform"}


def test_data_without_held_out_items_is_judged_without_that_anchor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "STEPS", 5)
    dataset = subject_of_digits()[0]
    parts, record = split(dataset, {"train": 1.0})

    found = judge(subject(torch.zeros(1, 1, 8, 8), parts=parts, split=record), Asked(64))

    assert list(found["anchors"]) == ["gaussian"]
    assert "near_copies" not in found["metrics"]
    assert "too few to be an anchor" in found["notes"][0]


def test_data_that_the_model_cannot_be_held_against_is_refused() -> None:
    few = Pictures("few", torch.zeros(40, 1, 8, 8), None, "d" * 64)
    noise = registry.find("noise").configured({"height": 16, "width": 8, "channels": 3})

    with pytest.raises(BadRequest, match="28 training items are too few"):
        judge(subject(torch.zeros(1, 1, 8, 8), dataset=few, parts=split(few)[0]), Asked(64))
    with pytest.raises(BadRequest, match="pictures of 16x8, 3 channels, and those of digits are 8x8, 1 channels"):
        judge(subject(torch.zeros(1), sampler=Sampler(noise, nn.ModuleDict(), 64)), Asked(64))


def test_a_judgement_tells_how_far_it_is_and_stops_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "STEPS", 5)
    told: list[tuple[int, int]] = []
    one = subject(torch.zeros(1, 1, 8, 8))

    judge(one, Asked(100), Watch(lambda *at: told.append(at)))
    with pytest.raises(Stopped):
        judge(one, Asked(100), Watch(stopping=lambda: len(told) > 0))

    assert told[-3:] == [(0, 100), (64, 100), (100, 100)]
    assert one.sampler.recipe.passes == 2  # type: ignore[attr-defined]


def test_job_files_may_name_just_the_metrics_that_there_are() -> None:
    assert tuple(METRICS) == METRICS_OF_SPECS
