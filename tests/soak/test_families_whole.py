"""The families at their defaults, trained on real digits for as long as their thresholds were measured at."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from digit_judge import Judge
from learning import Learned, as_first_stage, drawn, learned
from torch import Tensor

from genworkers.judging.neighbours import precision_recall

pytestmark = pytest.mark.soak


@pytest.fixture(scope="module")
def judge() -> Judge:
    torch.set_num_threads(1)
    return Judge()


def pictures_of(learnt: Learned) -> Tensor:
    """Draw 1,280 pictures."""
    recipe, state, _ = learnt
    return drawn(recipe, state, 1280)


@pytest.fixture
def judged(judge: Judge, record_property: Any) -> Callable[[Tensor], float]:
    """Tell how far pictures are from the digits; they must be of all classes, and as varied."""

    def tell(pictures: Tensor) -> float:
        distance = judge.frechet(pictures)
        shares = torch.bincount(judge.classes(pictures), minlength=10) / len(pictures)
        _, recall = precision_recall(*(torch.from_numpy(judge.scaled(x)) for x in (judge.digits.train, pictures)))
        for name, value in (("frechet", distance), ("smallest_class", float(shares.min())), ("recall", recall)):
            record_property(name, value)
            print(f"{name} {value:.3f}")
        assert shares.min() >= 0.01
        assert recall >= 0.5
        return distance

    return tell


def test_flow_is_close_to_the_digits_after_400_steps(judge: Judge, judged: Callable[[Tensor], float]) -> None:
    pictures = pictures_of(learned("flow", {}, 400))

    distance = judged(pictures)

    assert distance < 2
    assert distance < judge.frechet(judge.gaussian(1280)) / 2
    assert judge.nearest_training_distance(pictures) >= judge.nearest_training_distance(judge.digits.held_out)


def test_a_dense_gan_is_close_to_the_digits_after_4000_steps(judge: Judge, judged: Callable[[Tensor], float]) -> None:
    distance = judged(pictures_of(learned("gan", {}, 4000)))

    assert distance < 3
    assert distance < judge.frechet(judge.gaussian(1280)) / 2


def test_a_vae_has_few_bits_per_pixel_after_900_steps(judge: Judge, judged: Callable[[Tensor], float]) -> None:
    learnt = learned("vae", {}, 900)

    distance = judged(pictures_of(learnt))

    assert learnt[2]["validation_bits_per_dim"] < 2.2
    assert distance < 7
    assert distance < judge.frechet(judge.gaussian(1280))


# It learns more slowly than flow: 5.0 after as many steps.
def test_diffusion_comes_near_the_digits_after_400_steps(judge: Judge, judged: Callable[[Tensor], float]) -> None:
    distance = judged(pictures_of(learned("diffusion", {}, 400)))

    assert distance < 7
    assert distance < judge.frechet(judge.gaussian(1280))


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("name", "params", "steps", "near"),
    # With the two moves of its critic that are the default, wgan-gp collapses within classes.
    [("dcgan", {}, 700, 6), ("wgan-gp", {"n_critic": 5, "batch_size": 32}, 400, 6)],
)
def test_a_convolutional_gan_comes_near_the_digits(
    judge: Judge, judged: Callable[[Tensor], float], name: str, params: dict[str, Any], steps: int, near: float
) -> None:
    early, late = (pictures_of(learned(name, params, count)) for count in (100, steps))

    distance = judged(late)

    assert distance < near
    assert distance < judge.frechet(early)


def test_two_stages_come_near_the_digits_and_far_nearer_than_the_first_alone(
    judge: Judge, judged: Callable[[Tensor], float]
) -> None:
    first = learned("vqvae", {}, 1000)
    second = learned("vqvae-prior", {}, 500, as_first_stage(first))

    distance, alone = judged(pictures_of(second)), judge.frechet(pictures_of(first))

    assert first[2]["validation_mse"] < 0.05 * float(judge.digits.train.var())
    assert math.exp(second[2]["validation_nats_per_code"]) < math.exp(second[2]["validation_unigram_nats_per_code"]) / 2
    assert distance < 4 < alone
