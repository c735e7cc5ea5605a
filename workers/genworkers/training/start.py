"""What a training's networks start from: nothing, a published model, or adapters on one, which alone learn then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from genplatform.errors import BadRequest
from genworkers import adapters
from genworkers.adapters import Lora
from genworkers.recipes.base import FirstStage, Recipe


@dataclass(frozen=True)
class Start:
    """The published model that a training starts from, if it does, and the adapters that learn in its place."""

    base: FirstStage | None = None
    lora: Lora | None = None
    is_published: bool = True  # of the base: a directory is none of the platform's versions

    def networks(self, recipe: Recipe[Any]) -> nn.ModuleDict:
        """Return the recipe's networks as they are before the first step, from torch's own random state.

        An average starts as the network that it is of. Raises BadRequest for a base whose networks are others,
        and for adapters that would have no place, or no base.
        """
        if self.lora is not None and recipe.no_adapters:
            raise BadRequest(f"A {recipe.name} cannot be tuned by adapters: {recipe.no_adapters}.", "Take `lora` out.")
        if self.lora is not None and self.base is None:
            raise BadRequest(
                "Adapters are put on a published model, and the job names none: what they would learn on is random.",
                "Say `base: NAME@VERSION` too, or take `lora` out.",
            )
        modules = recipe.build()
        if self.lora is not None and not _adapted(recipe, modules):
            raise BadRequest(
                f"Nothing that a {recipe.name} publishes ({', '.join(recipe.serve_modules) or 'no network'}) learns, "
                "nor is said to be the mean of what does: adapters have no place.",
                "Say in the recipe what its averages are of, such as averages = {'ema': 'net'}, or take `lora` out.",
            )
        if self.base is not None:
            for name, network in self.base.modules.items():
                for own in _with_its_source(recipe, name):
                    _load(modules, own, network)
            self._refuse_nothing(recipe, modules)
        if self.lora is not None:
            for live in _adapted(recipe, modules):
                adapters.inject(modules, live, self.lora)
                for mean in _means_of(recipe, live):
                    adapters.inject(modules, mean, self.lora)
                    modules[mean].load_state_dict(modules[live].state_dict())
                    modules[mean].requires_grad_(False)
        return modules

    def told(self, recipe: Recipe[Any], modules: nn.ModuleDict) -> list[str]:
        """Return what is to be said of it: what learns, and what does not go on from the base."""
        if self.base is None:
            return []
        said = []
        if self.lora is not None:
            learning = sum(one.numel() for one in modules.parameters() if one.requires_grad)
            state = {f"{name}.{k}": t for name in recipe.serve_modules for k, t in modules[name].state_dict().items()}
            staying = sum(tensor.numel() for key, tensor in state.items() if not adapters.is_adapter(key))
            said.append(f"Adapters of {learning:,} parameters learn on a base of {staying:,}.")
        new = self._new(recipe, modules)
        if new:
            said.append(f"The base was published without {', '.join(new)}: what they know begins anew.")
        return said

    def _new(self, recipe: Recipe[Any], modules: nn.ModuleDict) -> list[str]:
        """Return the networks that learn and have nothing of the base."""
        published = list(self.base.modules) if self.base is not None else []
        known = {own for name in published for own in _with_its_source(recipe, name)}
        return [name for name, one in modules.items() if name not in known and _learns(one)]

    def _refuse_nothing(self, recipe: Recipe[Any], modules: nn.ModuleDict) -> None:
        """Raise BadRequest where what learns is all new: then only its average would be the base's."""
        learning = [name for name, one in modules.items() if _learns(one)]
        if learning and self._new(recipe, modules) == learning:
            raise BadRequest(
                f"The recipe {recipe.name} publishes {', '.join(recipe.serve_modules)}, and none of what learns "
                f"({', '.join(learning)}) would go on from that.",
                "Let the recipe say of which network each published average is: averages = {'ema': 'network'}.",
            )

    def optimizers(self, recipe: Recipe[Any], modules: nn.ModuleDict) -> dict[str, torch.optim.Optimizer]:
        """Return the recipe's optimizers, of what learns alone."""
        made = recipe.optimizers(modules)
        if self.lora is not None:
            for optimizer in made.values():
                for group in optimizer.param_groups:
                    group["params"] = [one for one in group["params"] if one.requires_grad]
                optimizer.param_groups[:] = [group for group in optimizer.param_groups if group["params"]]
        return made

    def fixed(self, recipe: Recipe[Any], modules: nn.ModuleDict) -> frozenset[str]:
        """Return the weights that are the base's for good: a checkpoint need not hold them.

        Not buffers, for who knows whether they move.
        """
        if self.lora is None:
            return frozenset()
        mine = {own for live in _adapted(recipe, modules) for own in (live, *_means_of(recipe, live))}
        return frozenset(
            key
            for key in modules.state_dict().keys() - {name for name, _ in modules.named_buffers()}
            if key.partition(".")[0] in mine and not adapters.is_adapter(key)
        )

    def refuse_moved(self, recipe: Recipe[Any], modules: nn.ModuleDict) -> None:
        """Raise BadRequest where adapters alone are to be published, and a buffer beside them is not the base's."""
        if self.adapter() is None or self.base is None:
            return
        theirs = self.base.modules.state_dict()
        buffers = {key: one for key, one in modules.named_buffers() if key.partition(".")[0] in recipe.serve_modules}
        moved = [key for key in buffers if key in theirs and not torch.equal(buffers[key].cpu(), theirs[key].cpu())]
        if moved:
            raise BadRequest(
                f"{moved[0]} is a buffer and has moved from the base's: adapters hold none.",
                "Take `lora` out: the whole model goes on learning from its base.",
            )

    def adapter(self) -> dict[str, Any] | None:
        """Return what the card and the digest of a version say whose weights are adapters; None where they are not."""
        if self.base is None or self.lora is None or not self.is_published:
            return None
        return {"base": self.base.digest, **self.lora.as_json()}

    def about(self) -> dict[str, Any]:
        """Return what a checkpoint belongs to besides its recipe, data and seed."""
        based = {"base": self.base.digest} if self.base is not None else {}
        return based | ({"lora": self.lora.as_json()} if self.lora is not None else {})


def _adapted(recipe: Recipe[Any], modules: nn.ModuleDict) -> list[str]:
    """Return the networks that get adapters: those that are published, or that a published one is the mean of.

    What is published and does not learn, such as a first stage, stays as it is.
    """
    found = dict.fromkeys(recipe.averages.get(name, name) for name in recipe.serve_modules)
    return [name for name in found if _learns(modules[name])]


def _means_of(recipe: Recipe[Any], live: str) -> list[str]:
    return [mean for mean, source in recipe.averages.items() if source == live]


def _with_its_source(recipe: Recipe[Any], name: str) -> tuple[str, ...]:
    return (name, recipe.averages[name]) if name in recipe.averages else (name,)


def _learns(network: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in network.parameters())


def _load(modules: nn.ModuleDict, name: str, network: nn.Module) -> None:
    if name not in modules:
        return
    try:
        modules[name].load_state_dict(network.state_dict())
    except RuntimeError as error:
        why = " ".join(str(error).split())
        raise BadRequest(
            f"The base's network {name!r} is another than this job's: {why:.400}", "Leave out params that shape it."
        ) from error
