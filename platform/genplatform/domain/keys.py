"""The keys by which parts of the platform speak of a job, a run, a claim and a pool.

They travel as short strings through Redis; `parse` gives None for anything it did not write,
because what comes out of Redis is a hint and may be forged or stale.
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

RUN_PREFIX = "run/"  # of the names of actors that execute Runs

# As `str` writes a whole number, and small enough for a database's integer.
_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,17})\Z")


def _are_numbers(*texts: str) -> bool:
    return all(_NUMBER.match(text) for text in texts)


class JobKey(NamedTuple):
    """One Job of one tenant."""

    tenant: str
    job_id: str

    def __str__(self) -> str:
        return f"{self.tenant}/{self.job_id}"

    @classmethod
    def parse(cls, text: str) -> JobKey | None:
        """Read what `str` wrote."""
        parts = text.split("/")
        return cls(parts[0], parts[1]) if len(parts) == 2 and all(parts) else None


class RunKey(NamedTuple):
    """One numbered Run of a Job. Its lease is kept by the run's worker."""

    tenant: str
    job_id: str
    run: int

    @property
    def job(self) -> JobKey:
        """The Run's Job."""
        return JobKey(self.tenant, self.job_id)

    @property
    def actor(self) -> str:
        """The name of the actor that executes it."""
        return f"{RUN_PREFIX}{self}"

    def __str__(self) -> str:
        return f"{self.tenant}/{self.job_id}/{self.run}"

    @classmethod
    def parse(cls, text: str) -> RunKey | None:
        """Read what `str` wrote."""
        parts = text.split("/")
        if len(parts) == 3 and all(parts) and _are_numbers(parts[2]):
            return cls(parts[0], parts[1], int(parts[2]))
        return None


class ShardKey(NamedTuple):
    """One Shard of a Job, in one Run: what a hand-off hint says."""

    tenant: str
    job_id: str
    run: int
    shard: int

    @property
    def job(self) -> JobKey:
        """The Shard's Job."""
        return JobKey(self.tenant, self.job_id)

    def __str__(self) -> str:
        return f"{self.tenant}/{self.job_id}/{self.run}/{self.shard}"

    @classmethod
    def parse(cls, text: str) -> ShardKey | None:
        """Read what `str` wrote."""
        parts = text.split("/")
        if len(parts) == 4 and all(parts) and _are_numbers(*parts[2:]):
            return cls(parts[0], parts[1], int(parts[2]), int(parts[3]))
        return None


class ClaimKey(NamedTuple):
    """One numbered claim of a Shard. Its lease is kept by the claiming worker."""

    tenant: str
    job_id: str
    run: int
    shard: int
    claim: int

    @property
    def job(self) -> JobKey:
        """The claim's Job."""
        return JobKey(self.tenant, self.job_id)

    def __str__(self) -> str:
        return f"{self.tenant}/{self.job_id}/{self.run}/{self.shard}/{self.claim}"

    @classmethod
    def parse(cls, text: str) -> ClaimKey | None:
        """Read what `str` wrote."""
        parts = text.split("/")
        if len(parts) == 5 and all(parts) and _are_numbers(*parts[2:]):
            return cls(parts[0], parts[1], int(parts[2]), int(parts[3]), int(parts[4]))
        return None


LeaseKey = RunKey | ClaimKey


def parse_lease(text: str) -> LeaseKey | None:
    """Read a lease's key of either kind."""
    return RunKey.parse(text) or ClaimKey.parse(text)


def pool_id(tenant: str, model_digest: str, code: str) -> str:
    """Return the id of the pool whose workers hold that model version under that code."""
    return "p" + hashlib.sha256(f"{tenant}\n{model_digest}\n{code}".encode()).hexdigest()[:15]


def pool_actor(tenant: str, pool: str, number: int) -> str:
    """Return the name of a pool's `number`-th worker actor (numbers are never used twice)."""
    return f"pool/{tenant}/{pool}/{number}"
