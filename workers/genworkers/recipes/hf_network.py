"""A causal language model of `transformers` as slots want one: it reads a few tokens at a time over a cache of ours.

Its keys and values lie in one tensor of fixed size, and each row has a place of its own in it. The library is told so
by a cache that writes there, and by a mask that hides what is not yet read.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from genworkers.recipes.llama import Cache

# What a config may say that is of the machine, or would run code that comes with a model.
NO_ARCHITECTURE = ("auto_map", "architectures", "dtype", "torch_dtype", "transformers_version", "_name_or_path")
REFUSED = ("quantization_config",)
FULL = {"full_attention"}


def library() -> ModuleType:
    """Return the library; raises ModuleNotFoundError that says how to get it."""
    try:
        return import_module("transformers")
    except ImportError:
        raise ModuleNotFoundError(
            "Models of Hugging Face need the package transformers: install genctl[hf] on the nodes."
        ) from None


def config_of(architecture: Mapping[str, Any]) -> Any:
    """Return the library's config; raises ValueError for one that is of no causal model with attention to all before.

    No code that comes with a model is run: what the library itself does not have is refused.
    """
    lib = library()
    told = {name: value for name, value in architecture.items() if name not in NO_ARCHITECTURE}
    kind = str(told.pop("model_type", ""))
    odd = next((name for name in REFUSED if told.get(name)), None)
    if odd is not None:
        raise ValueError(f"The architecture has {odd}, which this recipe does not know.")
    config = lib.AutoConfig.for_model(kind, **told)
    if type(config) not in lib.AutoModelForCausalLM._model_mapping:
        raise ValueError(f"The model type {kind!r} of transformers is no causal language model.")
    # Some say a window that they do not use, which the library leaves out.
    window, most = getattr(config, "sliding_window", None), getattr(config, "max_position_embeddings", None)
    if window and (most is None or window < most):
        raise ValueError("The architecture has sliding_window, which this recipe does not know.")
    if set(getattr(config, "layer_types", None) or FULL) != FULL:
        raise ValueError(f"The model type {kind!r} has layers that do not attend to all that is before.")
    return config


def class_of(config: Any) -> Any:
    """Return the library's class of causal language models with that config."""
    return library().AutoModelForCausalLM._model_mapping[type(config)]


class HfNetwork(nn.Module):
    """From tokens to scores of the next one, by the library's own layers. `vocabulary` are the tokens that it may say.

    A weight that two layers share is in its state once, under the name that comes first.
    """

    def __init__(self, model: Any, vocabulary: int) -> None:
        super().__init__()
        self.model, self.vocabulary = model, vocabulary
        self.register_state_dict_post_hook(_once)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_twice)  # type: ignore[no-untyped-call]

    @classmethod
    def built(cls, architecture: Mapping[str, Any], vocabulary: int) -> HfNetwork:
        """Return one with fresh weights, from torch's own random state."""
        lib, config = library(), config_of(architecture)
        return cls(lib.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").float(), vocabulary)

    @classmethod
    def of_weights(cls, architecture: Mapping[str, Any], vocabulary: int, weights: dict[str, Tensor]) -> HfNetwork:
        """Return one with these weights, by the names that the library saves them under; raises ValueError for others.

        They become fp32, which trainings and tiles are in.
        """
        config = config_of(architecture)
        model, told = class_of(config).from_pretrained(
            None,
            config=config,
            state_dict=weights,
            output_loading_info=True,
            attn_implementation="sdpa",
            dtype=torch.float32,
        )
        wrong = sorted(map(str, [*told["missing_keys"], *told["unexpected_keys"], *told["mismatched_keys"]]))
        if wrong:
            raise ValueError(f"{len(wrong)} tensors are missing or are not of its config, {wrong[0]} among them.")
        return cls(model.train(), vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (rows, length, tokens) scores of what follows each of (rows, length) tokens."""
        scores: Tensor = self.model(input_ids=tokens, use_cache=False).logits
        return scores[..., : self.vocabulary]

    def cache(self, rows: int, span: int) -> Cache:
        """Return an empty cache for so many rows of so many positions."""
        config = self.model.config
        heads = config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // heads
        shape = (config.num_hidden_layers, rows, getattr(config, "num_key_value_heads", None) or heads, span, size)
        parts = next(self.parameters()).new_zeros((2, *shape))
        return Cache(parts[0], parts[1])

    def extend(self, tokens: Tensor, cache: Cache, at: Tensor) -> Tensor:
        """Read (rows, length) tokens that stand from position `at` of each row on; return the scores after each.

        The cache keeps them. What lies at later positions of it changes nothing.
        """
        places = at[:, None] + torch.arange(tokens.shape[1], device=tokens.device)
        unread = torch.arange(cache.keys.shape[3], device=places.device) > places[:, None, :, None]
        mask = torch.zeros(unread.shape, dtype=cache.keys.dtype, device=places.device)
        # Fillers behind a prompt may stand further on than there are positions.
        last = getattr(self.model.config, "max_position_embeddings", None) or cache.keys.shape[3]
        scores: Tensor = self.model(
            input_ids=tokens,
            attention_mask=mask.masked_fill(unread, torch.finfo(mask.dtype).min),
            position_ids=places.clamp(max=last - 1),
            past_key_values=_Places(cache, places),
            use_cache=True,
        ).logits
        return scores[..., : self.vocabulary]


class _Places:
    """What the library takes for its cache: it writes to each row's own places, and gives the whole span."""

    is_compileable = False

    def __init__(self, cache: Cache, places: Tensor) -> None:
        self._cache, self._places = cache, places
        self._rows = torch.arange(len(places), device=places.device)[:, None]

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Keep what is new of one layer, and return all that there is of it."""
        return self._kept(self._cache.keys[layer], keys), self._kept(self._cache.values[layer], values)

    def _kept(self, all_: Tensor, new: Tensor) -> Tensor:
        all_.transpose(1, 2)[self._rows, self._places] = new.transpose(1, 2).to(all_.dtype)
        return all_

    def get_seq_length(self, layer: int = 0) -> int:
        """Return how much was read: positions are told, and so nothing asks for it."""
        return int(self._places.max())


def _shared(network: nn.Module) -> dict[str, str]:
    """Return the names of weights that were named before, each with the first name."""
    first: dict[int, str] = {}
    again: dict[str, str] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        if first.setdefault(id(parameter), name) != name:
            again[name] = first[id(parameter)]
    return again


def _once(network: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    for name in _shared(network):
        state.pop(prefix + name, None)


def _twice(network: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for name, first in _shared(network).items():
        if prefix + first in state:
            state.setdefault(prefix + name, state[prefix + first])
