"""The job files of examples/pictures are accepted as they are, and hold a preset for every family of pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from genplatform.spec import RecipeBook, TrainSpec, load

FOLDER = Path(__file__).parents[3] / "examples" / "pictures"
CONVOLUTIONAL = ["dcgan", "diffusion", "flow", "vqvae", "vqvae-prior", "wgan-gp"]


def trainings(file: str) -> list[TrainSpec]:
    documents = load((FOLDER / file).read_bytes(), "application/yaml", RecipeBook.builtin(), [], {})
    return [document.spec for document in documents if isinstance(document.spec, TrainSpec)]


# The dense families are of no use at the size that a GPU is for; examples/digits.yaml has the dense GAN.
@pytest.mark.parametrize(("file", "dense"), [("digits.yaml", ["vae"]), ("gpu.yaml", [])])
def test_there_is_a_preset_for_every_family_of_pictures(file: str, dense: list[str]) -> None:
    assert sorted(spec.recipe for spec in trainings(file)) == sorted(CONVOLUTIONAL + dense)


@pytest.mark.parametrize("file", ["mnist.yaml", "fashion.yaml", "emoji.yaml"])
def test_other_sets_of_pictures_are_learned_with_the_defaults_and_judged(file: str) -> None:
    specs = trainings(file)

    assert [spec.name for spec in specs if spec.params] == []
    assert sorted(spec.recipe for spec in specs if spec.evaluate) == ["flow", "gan", "vqvae-prior"]
