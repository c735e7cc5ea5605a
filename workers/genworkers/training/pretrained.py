"""A directory of another library that a training starts from: read on this machine, or from the hub at one commit.

It is read as JSON and safetensors, and nothing that comes with it is run. What it is then stands in the model's config
by its commit, or by the digest of its files, and never by its path.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from genplatform.domain.paths import is_within
from genplatform.errors import BadRequest
from genplatform.spec.hub import is_commit, parse_hub
from genworkers import models
from genworkers.context import patiently
from genworkers.data.hub import fetch_hub_model
from genworkers.recipes.base import FirstStage, Recipe
from genworkers.scratch import scratch
from genworkers.training.job import TrainJob
from genworkers.training.start import Start

SMALL_FILES = ("config.json", "generation_config.json", "tokenizer.json")
LARGEST_SMALL_FILE = 64 << 20
SCHEDULER = "scheduler_config.json"  # of a pipeline of diffusers, in a folder of its own
WEIGHTS = ("model.safetensors", "diffusion_pytorch_model.safetensors")
INDEX = "model.safetensors.index.json"


def from_directory(recipe: type[Recipe[Any]], job: TrainJob) -> TrainJob:
    """Return the job as one that starts from the model in the directory that its params name, if they name one.

    Raises BadRequest for what is no such directory, or may not be read, and Unavailable for a hub that does not answer.
    """
    field = recipe.pretrained_param
    named = job.params.get(field) if field is not None else None
    if field is None or named is None or job.start.base is not None:
        return job
    hub = parse_hub(str(named))
    if hub is not None and hub.files is None:
        if not is_commit(hub.revision):
            raise BadRequest(
                f"params.{field} is {named!r:.300}, which may be another model whenever a run of this job starts.",
                f"Write hf://{hub.repository}@COMMIT, with all 40 digits that the hub shows of it.",
            )
        with scratch("pretrained") as place:
            commit = patiently(lambda: fetch_hub_model(hub, place))
            base = _read(recipe, job.params, field, place, [os.path.realpath(place)], f"hf://{hub.repository}@{commit}")
    else:
        within = [os.path.realpath(folder) for folder in job.folders if folder.startswith("/")]
        base = _read(recipe, job.params, field, _allowed(field, str(named), job.folders, within), within, None)
    # All that the params say is in the base's own by now.
    return replace(job, params={}, start=Start(base, job.start.lora, is_published=False))


def _allowed(field: str, path: str, folders: Sequence[str], within: list[str]) -> Path:
    real = os.path.realpath(path)
    if not path.startswith("/") or not is_within(real, within) or not Path(real).is_dir():
        raise BadRequest(
            f"params.{field} is {path!r:.300}, which is no directory that jobs may read here.",
            f"Name one by its whole path below {', '.join(folders) or 'a folder that the operator allows'}, or "
            "hf://OWNER/NAME@COMMIT.",
        )
    return Path(real)


def _read(
    recipe: type[Recipe[Any]], params: Mapping[str, Any], field: str, place: Path, within: list[str], origin: str | None
) -> FirstStage:
    try:
        scheduler, inside = place / "scheduler" / SCHEDULER, place / recipe.pretrained_folder
        place = inside if (inside / "config.json").is_file() else place
        for path in (place, scheduler, *place.glob("*.json"), *place.glob("*.safetensors")):
            # The blobs of a copy of the hub lie beside it, and may be linked to.
            if not is_within(os.path.realpath(path), within):
                raise ValueError(f"{path.name} is a link that leads out of the folders that jobs may read")
        small = {name: _small(place / name) for name in SMALL_FILES if (place / name).is_file()}
        small |= {SCHEDULER: _small(scheduler)} if scheduler.is_file() else {}
        shards = _shards(place)
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in small.items()}
        digests |= {name: models.file_sha256(place / name) for name in shards}
        digest = hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()
        tensors: dict[str, Tensor] = {}
        for name in shards:
            tensors |= load_file(place / name)
        told = {**params, field: origin or f"sha256:{digest}"}
        made, modules = recipe.of_files(told, small, tensors)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        raise BadRequest(
            f"What params.{field} names cannot be started from: {type(error).__name__}: {error!s:.500}",
            "It is a directory that transformers or diffusers saved: config.json and *.safetensors among it.",
        ) from error
    return FirstStage(digest, made, models.served(made, modules))


def _small(path: Path) -> bytes:
    if path.stat().st_size > LARGEST_SMALL_FILE:
        raise ValueError(f"{path.name} has more than {LARGEST_SMALL_FILE:,} bytes")
    return path.read_bytes()


def _shards(place: Path) -> list[str]:
    """Return the files of the weights; raises ValueError where there are none, and for names that lead elsewhere."""
    whole = [name for name in WEIGHTS if (place / name).is_file()]
    if whole:
        return whole[:1]
    if not (place / INDEX).is_file():
        raise ValueError(f"it has neither {WEIGHTS[0]} nor {INDEX}; other forms of weights are not read")
    names = sorted(set(json.loads(_small(place / INDEX))["weight_map"].values()))
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise ValueError(f"{INDEX} names the file {name!r:.100}")
    return names
