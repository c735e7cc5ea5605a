"""Recipes by name, and by nothing else.

A name is one of ours, or resolves through the entry-point group `genctl.recipes` of installed
packages; those cannot take the place of ours. What stands in a job file or in a model's card is
a name to look up here: it never becomes an import.
"""

from __future__ import annotations

import difflib
from importlib import import_module, metadata
from typing import Any

from genworkers.recipes.base import Recipe

GROUP = "genctl.recipes"
# One line a family: the name in job files, and the class that is it.
BUILTIN = {
    "dcgan": "genworkers.recipes.dcgan:Dcgan",
    "diffusers": "genworkers.recipes.from_diffusers:Diffusers",
    "diffusion": "genworkers.recipes.diffusion:Diffusion",
    "flow": "genworkers.recipes.flow:Flow",
    "gan": "genworkers.recipes.gan:Gan",
    "gpt": "genworkers.recipes.gpt:Gpt",
    "hf-causal-lm": "genworkers.recipes.hf_causal_lm:HfCausalLm",
    "noise": "genworkers.recipes.noise:Noise",
    "pix2pix": "genworkers.recipes.pix2pix:Pix2Pix",
    "vae": "genworkers.recipes.vae:Vae",
    "vqvae": "genworkers.recipes.vqvae:Vqvae",
    "vqvae-prior": "genworkers.recipes.vqvae_prior:VqvaePrior",
    "wgan-gp": "genworkers.recipes.wgan_gp:WganGp",
}


class UnknownRecipe(ValueError):
    """No installed package brings a recipe of that name."""


def names() -> list[str]:
    """Return the names of all installed recipes, sorted."""
    return sorted(BUILTIN.keys() | {point.name for point in metadata.entry_points(group=GROUP)})


def find(name: str) -> type[Recipe[Any]]:
    """Return the recipe of that name; raises UnknownRecipe, with the nearest name."""
    if name in BUILTIN:
        module, _, own = BUILTIN[name].partition(":")
        ours: type[Recipe[Any]] = getattr(import_module(module), own)
        return ours
    found = [point for point in metadata.entry_points(group=GROUP) if point.name == name]
    if not found:
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Installed recipes: {', '.join(names())}."
        raise UnknownRecipe(f"No recipe is named {name!r}. {hint}")
    recipe = found[0].load()
    if not (isinstance(recipe, type) and issubclass(recipe, Recipe)):
        raise UnknownRecipe(f"The entry point {name!r} ({found[0].value}) is not a recipe.")
    return recipe
