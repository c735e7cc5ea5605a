"""Adapters of low rank on any networks (LoRA; Hu et al., 2022), by peft: they learn and are kept, and all else stays.

What is added to a layer's weights W is alpha / rank times B A, with A and B of that rank; B is zero at first, so that
nothing has changed before something is learned.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from genplatform.errors import BadRequest

# As peft names them, with a name of ours for the set that they are of; published versions have them without it.
_ADAPTER = re.compile(r"\.lora_([AB])\.default(?=\.)")
_MARK = ".lora_"


@dataclass(frozen=True)
class Lora:
    """How large adapters are, and which layers get them: those whose names end so, or all that can (None)."""

    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] | None = None

    @classmethod
    def of(cls, told: Mapping[str, Any] | None) -> Lora | None:
        """Return what a job or a card says; None where it says nothing."""
        if not told:
            return None
        targets = told.get("targets")
        return cls(int(told["rank"]), float(told["alpha"]), None if targets is None else tuple(targets))

    def as_json(self) -> dict[str, Any]:
        """Return it as `of` reads it."""
        return {
            "rank": self.rank,
            "alpha": self.alpha,
            "targets": None if self.targets is None else list(self.targets),
        }


def inject(modules: nn.ModuleDict, name: str, lora: Lora) -> None:
    """Put fresh adapters on the layers of one of the networks; from then on they alone learn there.

    Raises BadRequest where no layer is one of the targets, and ModuleNotFoundError without peft.
    """
    layers = _layers(modules[name])
    wanted = [one for one in layers if lora.targets is None or _ends_in(one, lora.targets)]
    if not wanted:
        raise BadRequest(
            f"No layer of the network {name!r} can have adapters by the targets {', '.join(lora.targets or ('all',))}.",
            f"Its layers that can: {', '.join(sorted({one.rpartition('.')[2] for one in layers})) or 'none'}.",
        )
    moving = next((one for one in modules[name].modules() if _moves(one)), None)
    if moving is not None:
        raise BadRequest(
            f"The network {name!r} has {type(moving).__name__}, whose statistics move with every step, "
            "and adapters hold none.",
            "Take `lora` out: the whole model goes on learning from its base.",
        )
    _put(modules, name, wanted, lora)


def _moves(module: nn.Module) -> bool:
    norms = nn.modules.batchnorm
    is_batch = isinstance(module, norms._BatchNorm)
    return is_batch or (isinstance(module, norms._NormBase) and module.track_running_stats)  # InstanceNorm


def _put(modules: nn.ModuleDict, name: str, layers: Iterable[str], lora: Lora) -> None:
    peft = _peft()
    training = modules[name].training
    # Around the network, for it may be such a layer itself.
    around = nn.ModuleDict({name: modules[name]})
    config = peft.LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, target_modules=[_within(name, one) for one in layers], lora_dropout=0.0
    )
    with warnings.catch_warnings():
        # It sets it right by itself for the layers of GPT-2, whose matrices are the other way round.
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False")
        peft.inject_adapter_in_model(config, around)
    modules[name] = around[name].train(training)
    for key, parameter in modules[name].named_parameters():
        # It leaves what is called as adapters are.
        parameter.requires_grad_(parameter.requires_grad and is_adapter(f".{key}"))


def _within(name: str, layer: str) -> str:
    return f"{name}.{layer}" if layer else name


def _ends_in(name: str, ends: Iterable[str]) -> bool:
    return any(name == end or name.endswith(f".{end}") for end in ends)


def _layers(network: nn.Module) -> list[str]:
    """Return the names of the layers that can have adapters: linear ones and convolutions that are used as such.

    Not those whose weights another layer has too, nor what attention of PyTorch's own reads past its layers.
    """
    found = dict(network.named_modules())
    owners: dict[int, int] = {}
    for module in found.values():
        for parameter in module.parameters(recurse=False):
            owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    hidden = [name for name, module in found.items() if isinstance(module, nn.MultiheadAttention)]
    return [
        name
        for name, module in found.items()
        if _is_layer(module)
        and owners.get(id(module.weight)) == 1
        and not any(name.startswith(f"{one}.") if one else True for one in hidden)
    ]


def _is_layer(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return module.groups == 1
    return isinstance(module, nn.Linear) or is_gpt2_linear(module)


def is_gpt2_linear(module: nn.Module) -> bool:
    """Tell whether it is a linear layer of transformers' GPT-2, whose weight is (inputs, outputs)."""
    return type(module).__module__ == "transformers.pytorch_utils" and type(module).__name__ == "Conv1D"


def is_adapter(key: str) -> bool:
    """Tell whether a tensor of a network's state is an adapter's."""
    return _ADAPTER.search(key) is not None


def kept(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the adapters among the tensors of some networks, by the names that a published version has for them."""
    return {_published(key): tensor for key, tensor in state.items() if is_adapter(key)}


def _published(key: str) -> str:
    return _ADAPTER.sub(r".lora_\1", key)


def merge(modules: nn.ModuleDict, tensors: Mapping[str, Tensor], lora: Lora) -> None:
    """Add a published version's adapters to the weights of the networks that they are on: no adapter is left.

    Raises ValueError for tensors that are no adapters of these networks.
    """
    layers = {key.rpartition(_MARK)[0] for key in tensors}
    for name in modules:
        own = [one.partition(".")[2] for one in layers if one.partition(".")[0] == name]
        if own:
            _put(modules, name, own, lora)
    state = modules.state_dict()
    places = {_published(key): key for key in state if is_adapter(key)}
    if places.keys() != tensors.keys():
        odd = sorted(places.keys() ^ tensors.keys())
        raise ValueError(f"{len(odd)} tensors are no adapters of its base, {odd[0]} among them")
    modules.load_state_dict({places[key]: tensor for key, tensor in tensors.items()}, strict=False)
    unload(modules)


@torch.no_grad()
def unload(modules: nn.ModuleDict) -> None:
    """Add the adapters to the weights that they are on; plain networks are left."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, layer in list(modules.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            layer.merge()
            owner, _, last = name.rpartition(".")
            setattr(modules.get_submodule(owner), last, layer.get_base_layer())


def _peft() -> ModuleType:
    try:
        return import_module("peft")
    except ImportError:
        raise ModuleNotFoundError("Adapters need the package peft: install genctl[lora] on the nodes.") from None
