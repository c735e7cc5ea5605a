"""How a model is judged: what `kind: evaluate` and the end of a training have in common."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from genplatform.spec.common import SpecPart, once_each, one_of

# What `genworkers.judging.metrics` knows; a test holds the two equal.
METRICS = (
    "frechet_distance",
    "kernel_distance",
    "precision",
    "recall",
    "class_coverage",
    "smallest_class",
    "nearest_training_distance",
    "near_copies",
    "psnr",
    "ssim",
    "perplexity",
    "bits_per_byte",
    "bits_per_dim",
)
SAMPLES = 2000
FEWEST_SAMPLES = 64
MOST_SAMPLES = 50_000


class Judged(SpecPart):
    """How a model is judged."""

    metrics: list[one_of("metric", METRICS)] = Field(  # type: ignore[valid-type]
        default_factory=list,
        max_length=len(METRICS),
        description="The metrics to take. Left out: all that the model and the data allow.",
    )
    samples: int = Field(
        default=SAMPLES,
        ge=FEWEST_SAMPLES,
        le=MOST_SAMPLES,
        description="How many items are drawn, or held-out texts and pairs looked at, to judge the model.",
    )

    @field_validator("metrics")
    @classmethod
    def _each_metric_once(cls, metrics: list[str]) -> list[str]:
        return once_each(metrics, "metric")


def as_judged(value: Any) -> Any:
    """Return what `evaluate:` of a training says, `true` and `false` in longer words."""
    if isinstance(value, bool):
        return Judged() if value else None
    return value


JUDGED_SCHEMA: dict[str, Any] = {"anyOf": [{"type": "boolean"}, {"type": "null"}, Judged.model_json_schema()]}
