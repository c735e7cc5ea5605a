"""The families at their defaults, trained on real digits for as long as their thresholds were measured at."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from digit_judge import Judge
from learning import Learned, as_first_stage, drawn, learned
from torch import Tensor

pytestmark = pytest.mark.soak


@pytest.fixture(scope="module")
def judge() -> Judge:
    torch.set_num_threads(1)
    return Judge()


def pictures_of(learnt: Learned) -> Tensor:
    """Draw 1,280 pictures."""
    recipe, state, _ = learnt
    return drawn(recipe, state, 1280)


def smallest_class(judge: Judge, pictures: Tensor) -> float:
    return float((torch.bincount(judge.classes(pictures), minlength=10) / len(pictures)).min())


def test_flow_is_close_to_the_digits_after_400_steps(judge: Judge, record_property: Any) -> None:
    pictures = pictures_of(learned("flow", {}, 400))

    distance = judge.frechet(pictures)
    record_property("frechet", distance)
    shares = torch.bincount(judge.classes(pictures), minlength=10) / len(pictures)
    assert distance < 2
    assert distance < judge.frechet(judge.gaussian(1280)) / 2
    assert shares.min() >= 0.01
    assert judge.nearest_training_distance(pictures) >= judge.nearest_training_distance(judge.digits.held_out)


def test_a_vae_has_few_bits_per_pixel_after_900_steps(judge: Judge, record_property: Any) -> None:
    learnt = learned("vae", {}, 900)
    pictures, metrics = pictures_of(learnt), learnt[2]

    distance = judge.frechet(pictures)
    record_property("frechet", distance)
    assert metrics["validation_bits_per_dim"] < 2.2
    assert distance < 7
    assert distance < judge.frechet(judge.gaussian(1280))
    assert (torch.bincount(judge.classes(pictures), minlength=10) / len(pictures)).min() >= 0.01


def test_diffusion_is_close_to_the_digits_after_400_steps(judge: Judge, record_property: Any) -> None:
    pictures = pictures_of(learned("diffusion", {}, 400))

    distance = judge.frechet(pictures)
    record_property("frechet", distance)
    assert distance < 3
    assert distance < judge.frechet(judge.gaussian(1280)) / 2
    assert smallest_class(judge, pictures) >= 0.01


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("name", "steps"), [("dcgan", 700), ("wgan-gp", 500)])
def test_a_convolutional_gan_comes_near_the_digits(judge: Judge, record_property: Any, name: str, steps: int) -> None:
    early, late = (pictures_of(learned(name, {}, count)) for count in (100, steps))

    distance = judge.frechet(late)
    record_property("frechet", distance)
    assert distance < 15
    assert distance < judge.frechet(early)
    assert smallest_class(judge, late) >= 0.01


def test_two_stages_come_near_the_digits_and_far_nearer_than_the_first_alone(
    judge: Judge, record_property: Any
) -> None:
    first = learned("vqvae", {}, 1000)
    second = learned("vqvae-prior", {}, 500, as_first_stage(first))

    distance, alone = judge.frechet(pictures_of(second)), judge.frechet(pictures_of(first))
    record_property("frechet", distance)
    record_property("frechet_of_the_first_stage", alone)
    assert first[2]["validation_mse"] < 0.05 * float(judge.digits.train.var())
    assert math.exp(second[2]["validation_nats_per_code"]) < math.exp(second[2]["validation_unigram_nats_per_code"]) / 2
    assert distance < 4 < alone
    assert smallest_class(judge, pictures_of(second)) >= 0.01
