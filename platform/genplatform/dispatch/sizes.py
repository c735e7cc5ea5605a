"""What jobs ask of the machine, also those whose specs an older version wrote and this one cannot read."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from genplatform.catalog import JobRow
from genplatform.domain.job import Demand
from genplatform.errors import BadSpec
from genplatform.spec import demand_of_resources

# Few jobs ask anything that no other asks.
KINDS_KEPT = 10_000


def demand_in(resources: Any) -> Demand:
    """Return what the `resources` of a spec ask for; where they cannot be read, the least there is.

    Opening the job's Run says what is wrong with it.
    """
    return _read(json.dumps(resources, sort_keys=True))


def size_of(job: JobRow) -> Demand:
    """Return what one worker of a job takes."""
    asked = demand_in(job.spec.get("resources"))
    return Demand(cpus=asked.cpus, gpus=asked.gpus)


@lru_cache(maxsize=KINDS_KEPT)
def _read(resources: str) -> Demand:
    try:
        return demand_of_resources(json.loads(resources))
    except BadSpec:
        return Demand()
