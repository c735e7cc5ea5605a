"""One judgement: what a model draws, measured, and beside each number what it is held against.

A judgement is a JSON object that says all that is needed to read it: the metrics with their anchors, the space they
were taken in, the data and its split, how many rows, and the seed. What it says is a function of the model, the data
and what was asked; it names no job and no time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from torch import Tensor

from genplatform.domain.seeds import item_seed
from genplatform.errors import BadRequest
from genworkers.data.dataset import Dataset
from genworkers.images import Payload
from genworkers.judging.metrics import METRICS
from genworkers.sampler import Sampler

FORMAT = 1
DEFAULT_SAMPLES = 2000


@dataclass(frozen=True)
class Asked:
    """What to judge by. No metrics named: all that the data allows."""

    samples: int = DEFAULT_SAMPLES
    seed: int = 0
    metrics: Sequence[str] = ()


class Beside(NamedTuple):
    """Another model that is measured as the judged one is, and stands beside it as an anchor."""

    sampler: Sampler
    about: str


@dataclass(frozen=True)
class Subject:
    """What is judged: a sampler, the data it is held against, and what else is known of the model.

    `known` are metrics of the model on this data's validation part, from its own training; `beside` are other models of
    its recipe, by the names of the anchors that they are.
    """

    sampler: Sampler
    dataset: Dataset
    parts: Mapping[str, Tensor]
    split: Mapping[str, Any]
    known: Mapping[str, float] = field(default_factory=dict)
    beside: Mapping[str, Beside] = field(default_factory=dict)

    def others(self) -> Iterator[tuple[str, Subject]]:
        """Yield each model beside it as a subject of its own, with its name."""
        for name, other in self.beside.items():
            yield name, replace(self, sampler=other.sampler, known={}, beside={})


@dataclass(frozen=True)
class Findings:
    """What a judge of one modality found: each metric with the same number of every anchor."""

    values: Mapping[str, float]
    anchors: Mapping[str, Mapping[str, float]]  # by anchor, then by metric
    about_anchors: Mapping[str, str]
    feature_space: Mapping[str, Any] | None
    rows: Mapping[str, int]
    notes: Sequence[str] = ()


class Stopped(Exception):
    """The judgement was asked to stop before it was done."""


class Watch:
    """How a judgement speaks to whoever runs it: `report` hears how many samples are drawn; `stopping` is asked."""

    def __init__(
        self, report: Callable[[int, int], None] | None = None, stopping: Callable[[], bool] | None = None
    ) -> None:
        self._report, self._stopping = report, stopping

    def at(self, done: int, total: int) -> None:
        """Say how far it is; raises Stopped when it is to stop."""
        if self._stopping is not None and self._stopping():
            raise Stopped
        if self._report is not None:
            self._report(done, total)


Judge = Callable[[Subject, Asked, Watch], Findings]


def _pictures(subject: Subject, asked: Asked, watch: Watch) -> Findings:
    if hasattr(subject.dataset, "source_shape"):
        from genworkers.judging.pairs import judge_pairs

        return judge_pairs(subject, asked, watch)
    from genworkers.judging.pictures import judge_pictures

    return judge_pictures(subject, asked, watch)


def _texts(subject: Subject, asked: Asked, watch: Watch) -> Findings:
    from genworkers.judging.texts import judge_texts

    return judge_texts(subject, asked, watch)


# A modality, and how its models are judged.
JUDGES: dict[str, Judge] = {"image": _pictures, "text": _texts}


def judge(subject: Subject, asked: Asked, watch: Watch | None = None) -> dict[str, Any]:
    """Judge a model; raises BadRequest for what cannot be judged, and Stopped."""
    recipe, modality = subject.sampler.recipe, subject.dataset.modality
    if modality != recipe.modality:
        raise BadRequest(
            f"The model makes {recipe.modality} items, and those of {subject.dataset.name} are {modality}.",
            "Judge it on data of its own kind.",
        )
    found = _judge_of(recipe.modality)(subject, asked, watch or Watch())
    wanted = [name for name in found.values if not asked.metrics or name in asked.metrics]
    missing = [name for name in asked.metrics if name not in found.values]
    if missing:
        raise BadRequest(
            f"The metric {missing[0]!r} cannot be taken of this model on this data.",
            f"Possible here: {', '.join(found.values)}.",
        )
    return {
        "format": FORMAT,
        "modality": recipe.modality,
        "metrics": {
            name: {
                "value": found.values[name],
                "better": METRICS[name].better,
                "about": METRICS[name].about,
                "anchors": {anchor: told[name] for anchor, told in found.anchors.items() if name in told},
            }
            for name in wanted
        },
        "anchors": {**found.about_anchors, **{name: other.about for name, other in subject.beside.items()}},
        "feature_space": dict(found.feature_space) if found.feature_space is not None else None,
        "data": subject.dataset.name,
        "data_digest": subject.dataset.digest,
        "split": dict(subject.split),
        "rows": dict(found.rows),
        "samples": asked.samples,
        "seed": asked.seed,
        "notes": list(found.notes),
    }


def told(found: Mapping[str, Any]) -> list[str]:
    """Return a judgement as lines of a log: each metric beside its anchors."""
    lines = []
    for name, metric in found["metrics"].items():
        anchors = ", ".join(f"{anchor} {value:.3g}" for anchor, value in metric["anchors"].items())
        lines.append(f"{name} {metric['value']:.3g}" + (f" ({anchors})" if anchors else ""))
    return [*lines, *found["notes"]]


def draw(subject: Subject, asked: Asked, watch: Watch) -> list[Payload]:
    """Draw the samples that are judged, a tile at a time, with the seeds of a generate job of that seed."""
    seeds = [item_seed(asked.seed, index) for index in range(asked.samples)]
    drawn: list[Payload] = []
    for start in range(0, asked.samples, subject.sampler.tile):
        watch.at(start, asked.samples)
        drawn += subject.sampler.draw(seeds[start : start + subject.sampler.tile])
    watch.at(asked.samples, asked.samples)
    return drawn


def _judge_of(modality: str) -> Judge:
    if modality not in JUDGES:
        raise BadRequest(
            f"Models of {modality} cannot be judged.", f"Modalities that can: {', '.join(sorted(JUDGES))}."
        )
    return JUDGES[modality]
