"""Compressed weights: how they are made, how they lie in a safetensors file, and how they are read back.

A file says itself how it is to be read, in its header, which its SHA-256 and so the model's digest covers; a file
without that word holds weights as they are. int8 is symmetric, weight-only and has one scale for each output channel
(Jacob et al., 2018; Krishnamoorthi, 2018): what is computed with is scale x number, in fp32. Nothing is measured of
activations, as dynamic quantisation does over a whole batch: there an item would depend on those drawn beside it.

    NAME              int8, of the weight's shape       and what was left as it is, under its own name
    NAME.int8_scale   fp32, one for each channel, shaped so that it multiplies NAME
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from genplatform.errors import BadRequest
from genworkers.adapters import is_gpt2_linear

INT8, BF16 = "int8", "bf16"
METHODS = (INT8, BF16)
HEADER = "compression"
SCALE = ".int8_scale"
LARGEST = 127

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_QUANTISED = (nn.Linear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d, *_TRANSPOSED)


class Compressed(NamedTuple):
    """Tensors as they are written, and the names of those that were left as they are."""

    tensors: dict[str, Tensor]
    left: tuple[str, ...]


def compress(modules: nn.ModuleDict, method: str) -> Compressed:
    """Return the state of published networks in `method`, one of METHODS.

    int8 takes the weights of linear, convolution and embedding layers, bf16 all fp32 parameters. Raises BadRequest
    for networks that have none of them, and for weights that are not finite.
    """
    state = {name: tensor.detach() for name, tensor in modules.state_dict().items()}
    taken = _channels(modules) if method == INT8 else _parameters(modules)
    # By where they lie: a network may call its weights otherwise in its state than where they are.
    channels = {name: taken[tensor.data_ptr()] for name, tensor in state.items() if tensor.data_ptr() in taken}
    if not channels:
        what = "linear, convolution or embedding layers" if method == INT8 else "fp32 parameters"
        raise BadRequest(f"The model has no {what}: {method} would change nothing of it.", "Keep it as it is.")
    tensors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name not in channels:
            tensors[name] = tensor.cpu().contiguous()
            continue
        if not bool(tensor.isfinite().all()):
            raise BadRequest(f"The weight {name} is not finite.", "Train the model again: it has diverged.")
        if method == BF16:
            tensors[name] = tensor.bfloat16().cpu().contiguous()
        else:
            tensors[name], tensors[name + SCALE] = quantised(tensor.cpu(), channels[name])
    return Compressed(tensors, tuple(name for name in state if name not in channels))


def quantised(weight: Tensor, channel: int) -> tuple[Tensor, Tensor]:
    """Return a weight as int8 in [-127, 127] and its scales: weight ~ int8 x scale, off by half a scale at most."""
    others = [place for place in range(weight.ndim) if place != channel]
    scale = weight.abs().amax(others, keepdim=True).float() / LARGEST
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))  # a channel of zeros stays one
    return (weight / scale).round().clamp(-LARGEST, LARGEST).to(torch.int8).contiguous(), scale.contiguous()


def write(tensors: Mapping[str, Tensor], method: str, path: Path) -> None:
    """Write what `compress` made; its header says how it is to be read."""
    save_file(dict(tensors), path, metadata={HEADER: method})


def read(path: Path) -> dict[str, Tensor]:
    """Return the weights of a file as they are computed with, whichever way it holds them.

    Raises BadRequest for a file that says that it is compressed in a way that is not known here.
    """
    with safe_open(path, framework="pt") as file:
        method = (file.metadata() or {}).get(HEADER)
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    if method is None:
        return tensors
    if method not in METHODS:
        raise BadRequest(
            f"The weights are compressed as {method!r:.40}, which is not known here.",
            f"Known: {', '.join(METHODS)}. A newer genctl may know it.",
        )
    return {name: _as_computed(name, tensors) for name in tensors if not name.endswith(SCALE)}


def _as_computed(name: str, tensors: Mapping[str, Tensor]) -> Tensor:
    tensor, scale = tensors[name], tensors.get(name + SCALE)
    if scale is not None:
        return tensor.float() * scale
    return tensor.float() if tensor.dtype is torch.bfloat16 else tensor


def _channels(modules: nn.ModuleDict) -> dict[int, int]:
    """Return where the weights lie that int8 takes, each with the dimension of its output channels."""
    return {
        module.weight.data_ptr(): 1 if isinstance(module, _TRANSPOSED) or is_gpt2_linear(module) else 0
        for module in modules.modules()
        if (isinstance(module, _QUANTISED) or is_gpt2_linear(module)) and module.weight.dtype is torch.float32
    }


def _parameters(modules: nn.ModuleDict) -> dict[int, int]:
    """Return where the parameters lie that bf16 takes; running statistics are buffers, and stay precise."""
    return {value.data_ptr(): 0 for value in modules.parameters() if value.dtype is torch.float32}
