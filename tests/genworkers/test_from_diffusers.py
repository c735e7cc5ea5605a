"""The recipe of diffusers: the library's networks and schedulers under our seeds, and back as its own pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from notebook import Notebook, train

from genplatform.domain import layout
from genplatform.errors import BadRequest
from genworkers import conformance, models
from genworkers.diffusers_pipeline import to_pipeline
from genworkers.recipes.base import DataFacts, ItemShape
from genworkers.recipes.from_diffusers import Diffusers, library

TINY = {"width_of_network": 8, "batch_size": 8, "sampling_steps": 3}
DIGITS = DataFacts(shape=ItemShape(8, 8, 1), classes=("zero", "one"))


@pytest.mark.soak  # seconds each, and the small unet is among the families that are tested always
def test_a_dit_is_what_the_engine_expects_of_a_recipe_as_a_unet_is() -> None:
    found = list(conformance.results("diffusers", TINY | {"network": "dit"}))

    assert [result for result in found if not result["ok"]] == []
    assert {"resume", "tiles", "seeds", "conditions"} <= {result["check"] for result in found}


@pytest.mark.soak  # seconds each, and the small unet is among the families that are tested always
def test_it_learns(tmp_path: Path) -> None:
    notebook = Notebook(tmp_path)

    train(notebook, recipe="diffusers", params=TINY | {"learning_rate": 3e-3}, steps=60, sheet_every=60)

    losses = [values["loss"] for _, values in notebook.points if "loss" in values]
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


def test_the_library_has_the_last_word_of_its_networks() -> None:
    asked = {"network_config": {"act_fn": "gelu", "dropout": 0.1}}

    network = Diffusers.configured(TINY | asked, DIGITS).build()["network"].net

    assert (type(network), network.config.act_fn) == (library().UNet2DModel, "gelu")
    assert network.config.num_class_embeds == 3
    with pytest.raises(ValueError, match="in_channels follows from the data"):
        Diffusers.configured({"network_config": {"in_channels": 3}})


@pytest.mark.parametrize(
    ("params", "shape", "said"),
    [
        ({"network": "dit"}, ItemShape(8, 6, 1), "squares of whole patches of 2, not 8x6"),
        ({"network": "dit", "patch_size": 3}, ItemShape(8, 8, 1), "patches of 3"),
        ({"levels": 3}, ItemShape(6, 6, 1), "multiples of 4, not 6x6"),
    ],
)
def test_pictures_that_a_network_cannot_have_are_refused(params: dict[str, Any], shape: ItemShape, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Diffusers.configured(TINY | params, DataFacts(shape=shape))


def version(folder: Path, params: dict[str, Any]) -> Path:
    recipe = Diffusers.configured(TINY | params, DIGITS)
    torch.manual_seed(3)
    modules = recipe.build()
    folder.mkdir()
    sha256 = models.write_weights(recipe, modules, folder / layout.WEIGHTS)
    config = recipe.config.model_dump(mode="json")
    card = {"recipe": "diffusers", "config": config, "digest": models.model_digest("diffusers", config, sha256)}
    (folder / layout.CARD).write_text(json.dumps(card))
    return folder


def test_a_version_becomes_a_pipeline_that_the_library_loads_and_draws_with(tmp_path: Path) -> None:
    lying = version(tmp_path / "version", {"classes": []})

    written = to_pipeline(lying, tmp_path / "pipeline")

    assert {path.name for path in written} >= {"model_index.json", "diffusion_pytorch_model.safetensors"}
    pipeline = library().DDIMPipeline.from_pretrained(tmp_path / "pipeline")
    pipeline.set_progress_bar_config(disable=True)
    torch.manual_seed(3)
    ours = Diffusers.configured(TINY | {"classes": []}, DIGITS).build()["ema"].net
    for name, tensor in pipeline.unet.state_dict().items():
        assert torch.equal(tensor, ours.state_dict()[name])
    drawn = pipeline(batch_size=2, num_inference_steps=2, output_type="np").images
    assert drawn.shape == (2, 8, 8, 1)


def test_a_training_goes_on_from_a_pipelines_directory(tmp_path: Path) -> None:
    folder = tmp_path / "pipeline"
    unet = library().UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 16), norm_num_groups=4, layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    scheduler = library().DDPMScheduler(num_train_timesteps=50, beta_schedule="linear")
    library().DDPMPipeline(unet=unet, scheduler=scheduler).save_pretrained(folder)
    params = {"pretrained": str(folder), "batch_size": 8, "sampling_steps": 2, "learning_rate": 1e-9}

    trained = train(Notebook(tmp_path), recipe="diffusers", params=params, folders=(str(tmp_path),), steps=1)

    config = trained.recipe.config
    assert (config.timesteps, config.beta_schedule, config.classes) == (50, "linear", ())
    assert config.pretrained.startswith("sha256:")
    for name, tensor in trained.state.modules["ema"].net.state_dict().items():
        torch.testing.assert_close(tensor, unet.state_dict()[name], atol=1e-6, rtol=0)
    again = Diffusers.configured(config.model_dump(mode="json"))
    again.build()["ema"].load_state_dict(trained.state.modules["ema"].state_dict())


def test_a_directory_that_cannot_be_gone_on_from_is_refused(tmp_path: Path) -> None:
    told = {"_class_name": "UNet2DModel", "sample_size": 8, "in_channels": 1}
    files = {"config.json": json.dumps(told).encode()}

    with pytest.raises(ValueError, match="prediction_type 'v_prediction'"):
        Diffusers.of_files({}, files | {"scheduler_config.json": b'{"prediction_type": "v_prediction"}'}, {})
    for other in ({"_class_name": "UNet2DConditionModel"}, {"num_class_embeds": 10}):
        with pytest.raises(ValueError, match="is no UNet2DModel, or it is one by class"):
            Diffusers.of_files({}, {"config.json": json.dumps(told | other).encode()}, {})


def test_a_pipeline_is_made_of_what_one_can_draw_with_and_of_whole_files(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="takes a unet without classes"):
        to_pipeline(version(tmp_path / "by-class", {}), tmp_path / "out")
    torn = version(tmp_path / "torn", {"classes": []})
    (torn / layout.WEIGHTS).write_bytes((torn / layout.WEIGHTS).read_bytes()[:-1] + b"x")
    adapted = version(tmp_path / "adapted", {"classes": []})
    card = json.loads((adapted / layout.CARD).read_text()) | {"adapter": {"base": "b" * 64, "rank": 8, "alpha": 16.0}}
    (adapted / layout.CARD).write_text(json.dumps(card))

    with pytest.raises(BadRequest, match="are not the model of its card"):
        to_pipeline(torn, tmp_path / "out")
    with pytest.raises(BadRequest, match="are adapters"):
        to_pipeline(adapted, tmp_path / "out")

    assert not (tmp_path / "out").exists()
