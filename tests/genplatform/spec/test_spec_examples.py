"""The job files of examples/pictures are accepted as they are, and hold a preset for every family of pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from genplatform.spec import RecipeBook, TrainSpec, load

FOLDER = Path(__file__).parents[3] / "examples" / "pictures"
CONVOLUTIONAL = ["dcgan", "diffusion", "flow", "vqvae", "vqvae-prior", "wgan-gp"]


# The dense families are of no use at the size that a GPU is for; examples/digits.yaml has the dense GAN.
@pytest.mark.parametrize(("file", "dense"), [("digits.yaml", ["vae"]), ("gpu.yaml", [])])
def test_there_is_a_preset_for_every_family_of_pictures(file: str, dense: list[str]) -> None:
    documents = load((FOLDER / file).read_bytes(), "application/yaml", RecipeBook.builtin(), [], {})

    specs = [document.spec for document in documents]
    assert sorted(spec.recipe for spec in specs if isinstance(spec, TrainSpec)) == sorted(CONVOLUTIONAL + dense)
