"""Model versions side by side: what was found of each, what it cost, and whether the numbers can be compared at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from genctl import text
from genctl.client import Client, Json
from genplatform.errors import NotFound

# Of which two evaluations must say the same for their numbers to be comparable.
_SAME = {
    "feature spaces": ("feature_space", "digest"),
    "data": ("data_digest",),
    "splits of the data": ("split",),
    "numbers of samples": ("samples",),
}


class Line(NamedTuple):
    """One line of the comparison: what it is of, a value a model, and which way is better."""

    title: str
    values: tuple[str, ...]
    better: str = ""


def ref_of(model: Mapping[str, Any]) -> str:
    """Return `NAME@V`."""
    return f"{model.get('name')}@{model.get('version')}"


def fetch(client: Client, refs: Sequence[str]) -> list[Json]:
    """Return what there is to compare: each version, its newest evaluation, and what its training cost."""
    found = []
    for ref in refs:
        model = client.model(ref)
        evaluations = model.get("evaluations") or []
        card = _mapping(model.get("card"))
        common = (
            "name",
            "version",
            "recipe",
            "modality",
            "job_id",
            "parent",
            "digest",
            "metrics",
            "size",
            "created_at",
        )
        found.append(
            {name: model.get(name) for name in common}
            | {"steps": card.get("steps"), "parameters": card.get("parameters")}
            | {"compression": card.get("compression"), "privacy": card.get("privacy")}
            | {"seconds": _seconds(client, model.get("job_id"))}
            | {"evaluation": evaluations[0] if evaluations else None}
        )
    return found


def differences(models: Sequence[Json]) -> list[str]:
    """Return in what the models were not judged alike, in words; none when their numbers can be compared."""
    judged = [m["evaluation"] for m in models if m["evaluation"]]
    return [what for what, path in _SAME.items() if any(_at(one, path) != _at(judged[0], path) for one in judged)]


def lines(models: Sequence[Json]) -> list[Line]:
    """Return the lines: each metric with its anchors beneath it, then how the model came to be."""
    found = [line for name in _metrics(models) for line in _of_metric(models, name)]
    facts: list[tuple[str, Callable[[Json], str]]] = [
        ("recipe", lambda m: text.clean(m["recipe"])),
        ("steps", lambda m: _count(m["steps"])),
        ("parameters", lambda m: _count(m["parameters"])),
        ("size", lambda m: text.size(m["size"])),
        ("trained in", lambda m: "-" if m["seconds"] is None or m.get("compression") else text.duration(m["seconds"])),
        ("parent", lambda m: text.clean(m["parent"] or "-")),
        ("privacy epsilon", lambda m: _number(_mapping(m.get("privacy")).get("epsilon"))),
        ("compressed", lambda m: text.clean(_mapping(m.get("compression")).get("method") or "-")),
        ("size to parent's", lambda m: _ratio(m, "size")),
        ("speed to parent's", lambda m: _ratio(m, "speed")),
    ]
    return found + [Line(title, tuple(value(m) for m in models)) for title, value in facts]


def compression(told: Any) -> str:
    """Return what a card says of how its model was compressed, in one line; empty where it was not."""
    said = _mapping(told)
    if not said:
        return ""
    size, speed = _mapping(said.get("size")), _mapping(said.get("speed"))
    ratio, low, high = (_number(speed.get(name)) for name in ("ratio", "low", "high"))
    speeds = f"{ratio} ({low} to {high}) of its speed" if speed else "its speed was not measured"
    return text.clean(
        f"{said.get('method')}, computed in {said.get('computed_in')}: {_number(size.get('ratio'))} of its parent's "
        f"size, {speeds}"
    )


def privacy(told: Any) -> str:
    """Return what a card says of what its model may tell of an item, in one line; empty where it has no bound."""
    said = _mapping(told)
    if not said:
        return ""
    return text.clean(
        f"epsilon {_number(said.get('epsilon'))} of {_number(said.get('asked_epsilon'))} at delta "
        f"{_number(said.get('delta'))}, in {_count(said.get('steps'))} steps"
    )


def _ratio(model: Json, of: str) -> str:
    return _number(_mapping(_mapping(model.get("compression")).get(of)).get("ratio"))


def headline(evaluations: Sequence[Json]) -> str:
    """Return what the newest evaluation was made with, in one line."""
    newest = evaluations[0]
    space = _at(newest, ("feature_space", "name"))
    said = f"Judged on {newest.get('data')} by {newest.get('samples')} samples"
    said += f", in the feature space {space}" if space else ""
    older = f"; {len(evaluations) - 1} older: see --json" if len(evaluations) > 1 else ""
    return text.clean(f"{said} ({newest.get('job_id')}{older})")


def by_anchor(evaluation: Json) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return the anchors of an evaluation, and a row a metric: its name, its value, each anchor's, which is better."""
    metrics = {name: _mapping(told) for name, told in _mapping(evaluation.get("metrics")).items()}
    anchors = list(dict.fromkeys(anchor for told in metrics.values() for anchor in _mapping(told.get("anchors"))))
    rows = []
    for name, told in metrics.items():
        of_anchors = [_number(_mapping(told.get("anchors")).get(anchor)) for anchor in anchors]
        rows.append((name, _number(told.get("value")), *of_anchors, str(told.get("better") or "")))
    return anchors, rows


def _of_metric(models: Sequence[Json], name: str) -> list[Line]:
    told = [_mapping(_mapping(_mapping(m["evaluation"]).get("metrics")).get(name)) for m in models]
    better = next((str(one["better"]) for one in told if "better" in one), "")
    anchors = list(dict.fromkeys(anchor for one in told for anchor in _mapping(one.get("anchors"))))
    found = [Line(text.clean(name), tuple(_number(one.get("value")) for one in told), text.clean(better))]
    return found + [
        Line(f"  {text.clean(anchor)}", tuple(_number(_mapping(one.get("anchors")).get(anchor)) for one in told))
        for anchor in anchors
    ]


def _metrics(models: Sequence[Json]) -> list[str]:
    return list(dict.fromkeys(name for m in models for name in _mapping(_mapping(m["evaluation"]).get("metrics"))))


def _seconds(client: Client, job_id: Any) -> float | None:
    """Return how long the runs of a training worked, all together; None when it is not known any more."""
    if not isinstance(job_id, str):
        return None
    try:
        runs = client.job(job_id).get("runs") or []
    except NotFound:
        return None  # it was pruned
    times = [(text.parse_time(run.get("started_at")), text.parse_time(run.get("finished_at"))) for run in runs]
    return sum(ended - begun for begun, ended in times if begun is not None and ended is not None)


def _at(document: Any, path: Sequence[str]) -> Any:
    for name in path:
        document = _mapping(document).get(name)
    return document


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> str:
    return "-" if value is None else text.number(value)


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else "-"
