"""What open jobs ask of the machine, also those whose specs an older version wrote and this one cannot read."""

from __future__ import annotations

from genplatform.catalog import JobRow
from genplatform.domain.job import Demand
from genplatform.errors import BadSpec
from genplatform.spec import demand, parse_stored


def demand_of(job: JobRow) -> Demand:
    """Return what a job asks for; of a spec that cannot be read, the least there is: opening its Run says why."""
    try:
        return demand(parse_stored(job.spec))
    except BadSpec:
        return Demand()


def size_of(job: JobRow) -> Demand:
    """Return what one worker of a job takes."""
    asked = demand_of(job)
    return Demand(cpus=asked.cpus, gpus=asked.gpus)
