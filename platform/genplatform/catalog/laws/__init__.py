"""The laws of the record, one room a noun: what a query can tell of whether it contradicts itself."""

from genplatform.catalog.laws import histories, jobs, needs, products, runs, shards, whole
from genplatform.catalog.laws.law import Law

LAWS: tuple[Law, ...] = tuple(
    law for room in (whole, jobs, needs, runs, shards, products, histories) for law in room.LAWS
)

__all__ = ["LAWS", "Law"]
