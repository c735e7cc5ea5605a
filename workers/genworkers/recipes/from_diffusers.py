"""Networks and schedulers of the library diffusers: UNet2D, or DiT (Peebles and Xie, 2023), on pixels.

DDPM training (Ho, Jain and Abbeel, 2020) with the library's own noise schedule; samples follow its DDIM scheduler
(Song, Meng and Ermon, 2021) without new noise, steered towards a class by classifier-free guidance (Ho and Salimans,
2022). Needs `diffusers`, which is imported when a network is built.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from genworkers.recipes.base import Conditions, DataFacts, EvaluationContext, Recipe, RecipeConfig
from genworkers.recipes.fitting import picture_shape
from genworkers.recipes.guided import GuidedConfig, GuidedRecipe
from genworkers.recipes.randomness import normal_rows

UNET, DIT = "unet", "dit"
HEAD = 8  # numbers of a head of attention, and groups of a norm, where `network_config` says nothing else
# What follows from the data and the other parameters.
_SCHEDULER = "scheduler_config.json"
# What a scheduler's config may say, and no other, for the noise that is learned here is of this kind.
_OF_SCHEDULER = {"prediction_type": "epsilon", "beta_start": 0.0001, "beta_end": 0.02, "trained_betas": None}
_DERIVED = frozenset({"sample_size", "in_channels", "out_channels", "num_class_embeds", "num_embeds_ada_norm"})


class DiffusersConfig(GuidedConfig):
    """Network, schedule, optimizer and sampler. The defaults are small enough for a CPU."""

    network: Literal["unet", "dit"] = Field(default="unet", description="UNet2DModel, or DiTTransformer2DModel.")
    pretrained: str | None = Field(
        default=None,
        min_length=1,
        max_length=4000,
        description="What training starts from: a pipeline's directory by its whole path, of a unet without classes.",
    )
    depth: int = Field(
        default=1, ge=1, le=64, description="Layers of each size of a unet; four times as many of a dit."
    )
    patch_size: int = Field(default=2, ge=1, le=64, description="Side of the patches that a dit sees.")
    network_config: dict[str, Any] = Field(
        default={}, description="More of the library's own settings of the network, as its config.json has them."
    )
    timesteps: int = Field(default=1000, ge=2, le=10_000, description="Degrees of noise that are learned.")
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = Field(
        default="squaredcos_cap_v2", description="How the library spreads them."
    )
    sampling_steps: int = Field(
        default=50, ge=1, le=1000, description="DDIM steps from noise to a picture, at most as many as timesteps."
    )

    @field_validator("network_config")
    @classmethod
    def _leaves_what_follows(cls, given: dict[str, Any]) -> dict[str, Any]:
        taken = sorted(_DERIVED & given.keys())
        if taken:
            raise ValueError(f"{taken[0]} follows from the data and cannot be set")
        return given


class Diffusers(GuidedRecipe[DiffusersConfig]):
    """A network of diffusers that tells noise from pictures."""

    name = "diffusers"
    summary = "A UNet2D or DiT of the library diffusers, its DDPM training and DDIM sampling; by class where there are."
    Config = DiffusersConfig

    pretrained_param = "pretrained"
    pretrained_folder = "unet"

    @classmethod
    def of_files(
        cls, params: Mapping[str, Any], files: Mapping[str, bytes], tensors: dict[str, Tensor]
    ) -> tuple[Recipe[Any], nn.ModuleDict]:
        """Return the recipe and networks of a pipeline's unet; raises ValueError for one that is none of this kind."""
        told = json.loads(files["config.json"])
        if told.get("_class_name") != "UNet2DModel" or told.get("num_class_embeds") is not None:
            raise ValueError(f"a {told.get('_class_name')!s:.60} is no UNet2DModel, or it is one by class")
        noise, levels = _noise_of(files), len(told.get("block_out_channels", ())) or 4  # as many as the library's own
        height, width = (told["sample_size"],) * 2 if isinstance(told["sample_size"], int) else told["sample_size"]
        own = {name: value for name, value in told.items() if name not in _DERIVED and not name.startswith("_")}
        known = {"network": UNET, "height": height, "width": width, "channels": told["in_channels"], "classes": ()}
        known |= {"levels": levels, "network_config": own}
        recipe = cls(cls.Config.model_validate({**params, **noise, **known}))
        modules = recipe.build()
        for name in modules:
            network: Any = modules[name]
            network.net.load_state_dict(tensors)
        return recipe, modules

    @classmethod
    def fit_to(cls, config: RecipeConfig, data: DataFacts) -> RecipeConfig:
        """Take size and classes from the data; raises ValueError for pictures that the network cannot have."""
        fitted: Any = super().fit_to(config, data)
        _, height, width = picture_shape(fitted)
        if fitted.network == DIT and (height != width or height % fitted.patch_size):
            raise ValueError(f"a dit takes squares of whole patches of {fitted.patch_size}, not {height}x{width}.")
        halves = 2 ** (fitted.levels - 1)
        if fitted.network == UNET and (height % halves or width % halves):
            raise ValueError(f"a unet of {fitted.levels} levels takes multiples of {halves}, not {height}x{width}.")
        return fitted  # type: ignore[no-any-return]

    def build(self) -> nn.ModuleDict:
        """Return the network and its moving average."""
        live = _Network(self._network())
        return nn.ModuleDict({"network": live, "ema": copy.deepcopy(live).eval().requires_grad_(False)})

    def loss(self, network: nn.Module, x: Tensor, labels: Tensor, ctx: EvaluationContext) -> Tensor:
        """Return the squared distance from the noise, at degrees of it that are drawn alike."""
        noise = ctx.noise("noise", x.shape).to(x.device)
        chance = torch.special.ndtr(ctx.noise("time", (len(x),)).double())
        degrees = (chance * self.config.timesteps).long().clamp(max=self.config.timesteps - 1).to(x.device)
        told: Tensor = network(self.scheduler().add_noise(x, noise, degrees), degrees, labels)
        return (told - noise).square().mean()

    def sample(self, modules: nn.ModuleDict, seeds: Tensor, cond: Conditions) -> Tensor:
        """Return pictures: each row's noise, led back by the average network."""
        c, network = self.config, modules["ema"]
        device = next(network.parameters()).device
        x = normal_rows(seeds, picture_shape(c)).to(device)
        labels = self.wished_classes(seeds, cond).to(device)
        scheduler = self.scheduler()
        scheduler.set_timesteps(min(c.sampling_steps, c.timesteps))
        for degree in scheduler.timesteps:
            noise = self.guided(network, x, float(degree), labels)
            x = scheduler.step(noise, degree, x, eta=0.0).prev_sample
        return x.clamp(-1, 1)

    def scheduler(self) -> Any:
        """Return the library's DDIM scheduler, which adds noise as its DDPM one does."""
        c = self.config
        return library().DDIMScheduler(
            num_train_timesteps=c.timesteps, beta_schedule=c.beta_schedule, prediction_type="epsilon", clip_sample=True
        )

    def _network(self) -> nn.Module:
        c = self.config
        channels, height, width = picture_shape(c)
        wide = c.width_of_network
        if c.network == DIT:
            settings: dict[str, Any] = {
                "num_attention_heads": wide // HEAD,
                "attention_head_dim": HEAD,
                "in_channels": channels,
                "num_layers": 4 * c.depth,
                "sample_size": height,
                "patch_size": c.patch_size,
                "norm_num_groups": HEAD,
                "num_embeds_ada_norm": self.class_count + 1,
            }
            made: nn.Module = library().DiTTransformer2DModel(**settings | c.network_config)
            for module in made.modules():
                if hasattr(module, "dropout_prob"):
                    # Classes are hidden by `class_dropout`, as of every guided family.
                    setattr(module, "dropout_prob", 0.0)  # noqa: B010 - mypy would take it for a module
            return made
        # One class more than there are: the hidden one. A model that knows none is not told any.
        classes = self.class_count + 1 if self.class_count else None
        settings = {
            "sample_size": (height, width),
            "in_channels": channels,
            "out_channels": channels,
            "block_out_channels": tuple(wide * min(level + 1, 4) for level in range(c.levels)),
            "down_block_types": ("DownBlock2D",) * (c.levels - 1) + ("AttnDownBlock2D",),
            "up_block_types": ("AttnUpBlock2D",) + ("UpBlock2D",) * (c.levels - 1),
            "layers_per_block": c.depth,
            "attention_head_dim": HEAD,
            "norm_num_groups": HEAD,
            "num_class_embeds": classes,
        }
        unet: nn.Module = library().UNet2DModel(**settings | c.network_config)
        return unet


class _Network(nn.Module):
    """The library's network, asked as the other guided families' are: pictures, degrees of noise, class numbers."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        config: Any = net.config
        self._takes_classes = config.get("num_class_embeds", config.get("num_embeds_ada_norm")) is not None

    def forward(self, x: Tensor, degrees: Tensor, classes: Tensor) -> Tensor:
        """Return the noise in each row."""
        told = classes if self._takes_classes else None
        out: Tensor = self.net(x, degrees.long(), class_labels=told, return_dict=False)[0]
        return out


def _noise_of(files: Mapping[str, bytes]) -> dict[str, Any]:
    """Return what a pipeline's scheduler says of the noise; raises ValueError for what cannot be gone on with."""
    told = json.loads(files.get(_SCHEDULER, b"{}"))
    for name, ours in _OF_SCHEDULER.items():
        if told.get(name, ours) != ours:
            raise ValueError(f"its scheduler has {name} {told[name]!r:.60}, and {ours!r} is what can be gone on with")
    known = {"timesteps": told.get("num_train_timesteps"), "beta_schedule": told.get("beta_schedule")}
    return {name: value for name, value in known.items() if value is not None}


def library() -> Any:
    """Return diffusers; raises ModuleNotFoundError that says how it is had."""
    try:
        import diffusers
    except ImportError:
        raise ModuleNotFoundError(
            "The recipe diffusers needs the package of that name: install genctl[diffusers] on the nodes."
        ) from None
    return diffusers
