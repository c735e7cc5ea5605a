"""`python -m genworkers.data.check`: read all that a job file's trainings would learn from, and tell how it is.

The job file comes on stdin, and one JSON document goes to stdout: the CLI makes a table of it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from genplatform.errors import BadSpec, GenctlError
from genplatform.spec import JobDocument, RecipeBook, TrainSpec, load
from genworkers.data.bounds import Skipped
from genworkers.data.dataset import Dataset, split
from genworkers.data.sources import open_source
from genworkers.data.text import Documents

ANYWHERE = ("/",)
GOOD, PROBLEMS = 0, 1
MOST_LISTED = 20


def report(data: Mapping[str, Any], shares: Mapping[str, Any]) -> dict[str, Any]:
    """Read everything that `data:` names and return what there is, how `split:` parts it, and what is wrong."""
    told: dict[str, Any] = {"source": data["source"], "problems": []}
    try:
        # Whatever is wrong is listed, and held against the limit only then.
        dataset = open_source({**data, "skip": None}, ANYWHERE)
        told |= _of_all(dataset)
        told["skipped"] = _of_skipped(dataset, data.get("skip") or 0, told["problems"])
        parts, record = split(dataset, shares)
        told["split"] = {"by": record.get("by", "item"), "seed": record["seed"]}
        told["parts"] = {name: _of_part(dataset, part) for name, part in parts.items()}
        told["duplicates"] = _duplicates(dataset, parts)
    except GenctlError as error:
        told["problems"].append({"message": error.message, "hint": error.hint})
        return told
    told["problems"] += _of_duplicates(told["duplicates"]) + _of_classes(dataset, told["parts"])
    return told


def _of_all(dataset: Dataset) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "modality": dataset.modality,
        "digest": dataset.digest,
        "revision": dataset.revision,
        "items": len(dataset),
        "bytes": dataset.size if isinstance(dataset, Documents) else None,
        "shape": dataset.shape._asdict() if dataset.shape is not None else None,
        "classes": list(dataset.classes) or None,
    } | _of_sources(dataset)


def _of_sources(dataset: Dataset) -> dict[str, Any]:
    shape, sound = getattr(dataset, "source_shape", None), getattr(dataset, "sound", None)
    told = {} if shape is None else {"source_shape": shape._asdict()}
    return told if sound is None else told | {"sound": sound._asdict()}


def _of_skipped(dataset: Dataset, limit: float, problems: list[dict[str, str]]) -> dict[str, Any]:
    skipped = getattr(dataset, "skipped", None)
    if not isinstance(skipped, Skipped):
        return {"count": 0, "items": []}
    most = limit if isinstance(limit, int) else limit * skipped.total
    if skipped.count > most:
        message = f"{skipped.count:,} of {skipped.total:,} items cannot be read, and data.skip allows {limit:g}."
        problems.append({"message": message, "hint": "Mend or remove them, or raise data.skip."})
    return {"count": skipped.count, "items": [{"item": item, "why": why} for item, why in skipped.listed]}


def _of_part(dataset: Dataset, part: torch.Tensor) -> dict[str, Any]:
    if dataset.labels is None:
        return {"items": len(part), "classes": None}
    count = max(len(dataset.classes), int(dataset.labels.max()) + 1)
    return {"items": len(part), "classes": torch.bincount(dataset.labels[part], minlength=count).tolist()}


def _duplicates(dataset: Dataset, parts: Mapping[str, torch.Tensor]) -> dict[str, int]:
    """Return how many items of one part are in another too, a pair of parts each."""
    contents, names = dataset.contents(), list(parts)
    of_part = {name: contents[part.numpy()] for name, part in parts.items()}
    pairs = [(one, other) for at, one in enumerate(names) for other in names[at + 1 :]]
    return {f"{one}/{other}": int(np.isin(of_part[other], of_part[one]).sum()) for one, other in pairs}


def _of_duplicates(duplicates: Mapping[str, int]) -> list[dict[str, str]]:
    found = [f"{count:,} in {pair}" for pair, count in duplicates.items() if count]
    if not found:
        return []
    message = f"Equal items lie in two parts: {', '.join(found)}. What is held out was learned."
    return [{"message": message, "hint": "Remove them, or say `split: {by: content}`."}]


def _of_classes(dataset: Dataset, parts: Mapping[str, Any]) -> list[dict[str, str]]:
    learned = parts["train"]["classes"]
    if learned is None:
        return []
    names = dataset.classes or tuple(map(str, range(len(learned))))
    found = [
        name for at, name in enumerate(names) if not learned[at] and any(part["classes"][at] for part in parts.values())
    ]
    if not found:
        return []
    more = "" if len(found) <= MOST_LISTED else f" and {len(found) - MOST_LISTED:,} more"
    message = (
        f"Nothing of these classes is learned from, and something is held out: {', '.join(found[:MOST_LISTED])}{more}."
    )
    return [{"message": message, "hint": "Raise split.train, choose another split.seed, or bring more of them."}]


def check(body: bytes, media_type: str, sets: Sequence[str]) -> dict[str, Any]:
    """Return what the CLI is told: a report a training of the file, or what is wrong with the file."""
    try:
        documents: list[JobDocument] = load(body, media_type, RecipeBook.builtin(), sets)
    except BadSpec as error:
        return {"bad_spec": [problem.as_json() for problem in error.problems]}
    except GenctlError as error:
        return {"error": {"message": error.message, "hint": error.hint}}
    reports = []
    for one in documents:
        if isinstance(one.spec, TrainSpec):
            asked = one.spec.model_dump(mode="json")
            reports.append({"job": one.spec.name} | report(asked["data"], asked["split"]))
    if not reports:
        message = "No job of the file is a training, so none reads data."
        return {"error": {"message": message, "hint": "Give the file of a job with `kind: train`."}}
    return {"data": reports}


def main() -> int:
    """Check the job file on stdin; return 1 when anything is wrong."""
    parser = argparse.ArgumentParser(description="Read what a job file's trainings would learn from.")
    parser.add_argument("--media-type", default="application/yaml")
    parser.add_argument("--set", action="append", default=[], dest="sets")
    given = parser.parse_args()
    told = check(sys.stdin.buffer.read(), given.media_type, given.sets)
    sys.stdout.write(json.dumps(told) + "\n")
    return PROBLEMS if "data" not in told or any(one["problems"] for one in told["data"]) else GOOD


if __name__ == "__main__":
    sys.exit(main())
