"""What a job file asks for, as rows to be: one a document, small enough that a hundred thousand fit in memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from genplatform.errors import SpecProblem
from genplatform.spec import JobDocument, TrainSpec, Where, model_ref, published_name

# The columns that a document alone decides, JSON as text.
COLUMNS = ("name", "kind", "queue", "priority", "labels", "spec", "run", "workers", "done", "total", "unit")
_PRIORITY = COLUMNS.index("priority")
_SHOWN = ("name", "kind", "queue", "priority", "labels", "spec")
JSON_COLUMNS = ("labels", "spec")


@dataclass(frozen=True, slots=True)
class Plan:
    """One job to be: its values of COLUMNS, what it needs, and the models it makes and uses."""

    values: tuple[Any, ...]
    name: str
    needs: Sequence[str]
    publishes: str | None
    model: str | None
    deadline: float | str | None
    where: Where

    @property
    def priority(self) -> int:
        """Its priority; higher goes first."""
        return int(self.values[_PRIORITY])

    def problem(self, message: str, path: str, hint: str = "") -> SpecProblem:
        """Return a problem with the top-level field `path`, with its place in the file."""
        return self.where.problem(message, path, hint)

    def shown(self) -> dict[str, Any]:
        """Return the plan as a dry run shows it."""
        row = dict(zip(COLUMNS, self.values, strict=True))
        row |= {name: json.loads(row[name]) for name in JSON_COLUMNS}
        return {"id": None, "state": None} | {name: row[name] for name in _SHOWN}


def plan(document: JobDocument) -> Plan:
    """Return the plan of a document."""
    spec = document.spec
    ref = model_ref(spec)
    total, unit = (spec.budget.steps, "steps") if isinstance(spec, TrainSpec) else (getattr(spec, "count", 0), "items")
    labels = json.dumps(spec.labels) if spec.labels else "{}"
    stored = spec.model_dump_json()
    return Plan(
        (spec.name, document.kind, spec.queue, spec.priority, labels, stored, 0, 0, 0, total, unit),
        spec.name,
        tuple(spec.needs),
        published_name(spec),
        None if ref is None else str(ref),
        spec.deadline,
        document.where,
    )
