"""A training state in a folder, and back: safetensors for tensors, JSON for the rest, no pickle.

`state.json` lists the digest of every other file, and its own digest is the checkpoint's. So
one recorded number tells whether all of it is whole; anything else is refused as Damaged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.amp import GradScaler

from genplatform.domain.exported import canonical
from genplatform.domain.layout import STATE
from genworkers.models import file_sha256
from genworkers.recipes.base import Recipe
from genworkers.training.gang import ALONE, Gang
from genworkers.training.ledger import Ledger
from genworkers.training.start import Start
from genworkers.training.state import FROM_NOTHING, TrainState, Window
from genworkers.training.tracking import Track

FORMAT = 1
MODULES = "modules.safetensors"
OPTIMIZERS = "optimizers.safetensors"


class Damaged(Exception):
    """What lies there is not the checkpoint that was recorded."""


@dataclass(frozen=True)
class Snapshot:
    """A copy of a training state, which stays as it is while the training goes on."""

    step: int
    modules: dict[str, Tensor]
    optimizers: dict[str, Tensor]
    told: dict[str, Any]  # the rest, as JSON carries it


def snapshot(state: TrainState, windows: Sequence[Mapping[str, Any]] = ()) -> Snapshot:
    """Copy `state` to the machine's own memory.

    `windows` are the metrics under way of all workers, by rank, where there are several.
    """
    tensors, groups = _optimizer_state(state)
    told: dict[str, Any] = {
        "step": state.step,
        "optimizers": groups,
        "window": state.window.as_json(),
        "latest": dict(state.latest),
        "evaluated": dict(state.evaluated),
    }
    # Of jobs that ask for none of these, checkpoints are what they always were.
    if len(windows) > 1:
        told["windows"] = list(windows)
    if state.scalers:
        told["scalers"] = {name: scaler.state_dict() for name, scaler in state.scalers.items()}
    if state.tracks:
        told["tracks"] = {name: track.as_json() for name, track in state.tracks.items()}
    if state.privacy is not None:
        told["privacy"] = state.privacy.as_json()
    learned = {k: _copied(t) for k, t in state.modules.state_dict().items() if k not in state.fixed}
    return Snapshot(state.step, learned, tensors, told)


def write(
    state: TrainState, folder: Path, about: Mapping[str, Any], assets: Mapping[str, bytes] = MappingProxyType({})
) -> str:
    """Write `state` into a new folder and return the checkpoint's digest.

    `about` says what is trained (recipe, config, seed, data digest): `read` wants the same. `assets` are what the
    recipe was prepared with.
    """
    return write_snapshot(snapshot(state), folder, about, assets)


def write_snapshot(taken: Snapshot, folder: Path, about: Mapping[str, Any], assets: Mapping[str, bytes]) -> str:
    """Write a copy of a state, as `write` does."""
    folder.mkdir(parents=True)
    for name, data in assets.items():
        (folder / name).write_bytes(data)
    save_file(taken.modules, folder / MODULES)
    save_file(taken.optimizers, folder / OPTIMIZERS)
    text = canonical(
        {
            **taken.told,
            "format": FORMAT,
            "about": dict(about),
            "torch": torch.__version__,
            "files": {name: file_sha256(folder / name) for name in (MODULES, OPTIMIZERS, *assets)},
        }
    )
    (folder / STATE).write_bytes(text)
    return hashlib.sha256(text).hexdigest()


def read(
    folder: Path,
    sha256: str,
    recipe: Recipe[Any],
    about: Mapping[str, Any],
    gang: Gang = ALONE,
    start: Start = FROM_NOTHING,
) -> TrainState:
    """Return the state that a folder holds; raises Damaged when it is not the whole of what `sha256` names.

    The recipe gets the assets that were kept with it. What a base has for good is taken from there (`start`).
    """
    try:
        text = (folder / STATE).read_bytes()
        if hashlib.sha256(text).hexdigest() != sha256:
            raise Damaged(f"{STATE} is not what was recorded")
        told = json.loads(text)
        for name, digest in told["files"].items():
            if name not in {MODULES, OPTIMIZERS, *recipe.asset_names} or file_sha256(folder / name) != digest:
                raise Damaged(f"{name} is not what was recorded")
        if told["format"] != FORMAT or told["about"] != json.loads(canonical(about)):
            raise Damaged("it belongs to other data, another recipe or other parameters")
        recipe.assets = {name: (folder / name).read_bytes() for name in recipe.asset_names}
        return _restored(folder, told, recipe, gang, start)
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise Damaged(f"it cannot be read ({type(error).__name__}: {error})") from error


def _restored(folder: Path, told: Mapping[str, Any], recipe: Recipe[Any], gang: Gang, start: Start) -> TrainState:
    modules = start.networks(recipe)
    fixed = start.fixed(recipe, modules)
    # Older ones hold no buffers where adapters learn.
    also = {name for name, _ in modules.named_buffers()} if fixed else set()
    own = {name: tensor for name, tensor in modules.state_dict().items() if name in fixed | also}
    modules.load_state_dict(own | load_file(folder / MODULES))
    # The rates before the optimizers are given theirs are those of the recipe.
    state = TrainState.around(recipe, modules, start)
    state.step = int(told["step"])
    tensors = load_file(folder / OPTIMIZERS)
    for name, optimizer in state.optimizers.items():
        optimizer.load_state_dict(
            {"state": _by_parameter(tensors, name), "param_groups": [_group(g) for g in told["optimizers"][name]]}
        )
    state.window = Window.of_json(told.get("windows") or [told["window"]], gang)
    state.latest = dict(told["latest"])
    state.evaluated = dict(told.get("evaluated") or {})  # older checkpoints have none
    state.tracks = {name: Track(**track) for name, track in told.get("tracks", {}).items()}
    state.privacy = Ledger(**told["privacy"]) if "privacy" in told else None
    for name, scaler in told.get("scalers", {}).items():
        state.scalers[name] = GradScaler(next(modules.parameters()).device.type)
        state.scalers[name].load_state_dict(scaler)
    return state


def _optimizer_state(state: TrainState) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors: dict[str, Tensor] = {}
    groups: dict[str, Any] = {}
    for name, optimizer in state.optimizers.items():
        told = optimizer.state_dict()
        groups[name] = told["param_groups"]
        for index, values in told["state"].items():
            for key, value in values.items():
                if not isinstance(value, Tensor):
                    raise TypeError(f"The optimizer {name!r} keeps a {type(value).__name__} ({key}): not a tensor.")
                tensors[f"{name}/{index}/{key}"] = _copied(value)
    return tensors, groups


def _copied(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _by_parameter(tensors: Mapping[str, Tensor], name: str) -> dict[int, dict[str, Tensor]]:
    found: dict[int, dict[str, Tensor]] = {}
    for path, tensor in tensors.items():
        owner, index, key = path.split("/")
        if owner == name:
            found.setdefault(int(index), {})[key] = tensor
    return found


def _group(told: Mapping[str, Any]) -> dict[str, Any]:
    """Undo what JSON does to a parameter group: Adam's betas were a tuple."""
    return {key: tuple(value) if key == "betas" else value for key, value in told.items()}
