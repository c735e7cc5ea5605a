"""What a job file asks for, as rows to be: one a document, small enough that a hundred thousand fit in memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from genplatform.domain.job import Demand
from genplatform.domain.names import ModelRef
from genplatform.domain.paths import fixed_part
from genplatform.errors import SpecProblem
from genplatform.spec import (
    CommandSpec,
    CompressSpec,
    EvaluateSpec,
    Find,
    GenerateSpec,
    JobDocument,
    JobSpec,
    TrainSpec,
    demand_of,
    is_path,
    model_ref,
    problem_of,
    published_name,
)

# The columns that a document alone decides, JSON as text.
COLUMNS = ("name", "kind", "queue", "priority", "labels", "spec", "run", "workers", "done", "total", "unit")
_PRIORITY = COLUMNS.index("priority")
_SPEC = COLUMNS.index("spec")
_KIND = COLUMNS.index("kind")
_SHOWN = ("name", "kind", "queue", "priority", "labels", "spec")
JSON_COLUMNS = ("labels", "spec")
# Few jobs ask anything of the machine that no other asks.
KINDS_KEPT = 10_000


class Plan(NamedTuple):
    """One job to be: its values of COLUMNS, what it needs, the models it makes and uses, and where it stands.

    `folder` is the one that it names by its path, if it does, in the field `folder_field`; `cond` is what its items are
    wished to be, as JSON.
    """

    values: tuple[Any, ...]
    name: str
    needs: Sequence[str]
    publishes: str | None
    model: ModelRef | None
    deadline: float | str | None
    document_index: int
    find: Find
    folder: str | None = None
    demand: Demand = Demand()
    cond: str | None = None
    folder_field: str = "workdir"

    @property
    def priority(self) -> int:
        """Its priority; higher goes first."""
        return int(self.values[_PRIORITY])

    @property
    def kind(self) -> str:
        """Its kind."""
        return str(self.values[_KIND])

    def spec(self) -> dict[str, Any]:
        """Return the document, with its defaults."""
        return dict(json.loads(self.values[_SPEC]))

    def problem(self, message: str, path: str, hint: str = "") -> SpecProblem:
        """Return a problem with the top-level field `path`, with its place in the file."""
        return problem_of(self.find, self.document_index, message, path, hint)

    def shown(self) -> dict[str, Any]:
        """Return the plan as a dry run shows it."""
        row = dict(zip(COLUMNS, self.values, strict=True))
        row |= {name: json.loads(row[name]) for name in JSON_COLUMNS}
        return {"id": None, "state": None} | {name: row[name] for name in _SHOWN}


def plan(document: JobDocument) -> Plan:
    """Return the plan of a document."""
    spec = document.spec
    total, unit = _amount(spec)
    folder, field = _named_path(spec)
    labels = json.dumps(spec.labels) if spec.labels else "{}"
    values = (spec.name, document.kind, spec.queue, spec.priority, labels, spec.model_dump_json(), 0, 0, 0, total, unit)
    return Plan(
        values,
        spec.name,
        tuple(spec.needs),
        published_name(spec),
        model_ref(spec),
        spec.deadline,
        document.document_index,
        document.find,
        folder,
        _demand(spec.resources.workers, spec.resources.cpus_per_worker, spec.resources.gpus_per_worker),
        json.dumps(spec.cond) if isinstance(spec, GenerateSpec) and spec.cond else None,
        field,
    )


def _named_path(spec: JobSpec) -> tuple[str | None, str]:
    """Return the folder that a spec names by its path, or None, and the field that does."""
    data = spec.data if isinstance(spec, TrainSpec | EvaluateSpec | CompressSpec) else None
    if data is not None and is_path(data.source):
        return fixed_part(data.source), "data"
    return spec.workdir if isinstance(spec, CommandSpec) else None, "workdir"


@lru_cache(maxsize=KINDS_KEPT)
def _demand(workers: int | str, cpus: float, gpus: float) -> Demand:
    return demand_of(workers, cpus, gpus)


def _amount(spec: JobSpec) -> tuple[int, str]:
    """Return how much there is to do, as far as a document says, and in what it is counted."""
    match spec:
        case TrainSpec():
            return spec.budget.steps or 0, "steps"  # of epochs, its worker tells how many
        case GenerateSpec():
            return spec.count, "items"
        case EvaluateSpec() | CompressSpec():
            return spec.samples, "samples"
        case _:
            return 0, "files"
