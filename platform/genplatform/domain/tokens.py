"""Tokens of runs and pools: what code on a node holds to speak to /internal/v1.

A token names its run or pool in the clear and carries an HMAC-SHA256 over it, so that
any API process checks it without a look-up and a restarted dispatcher makes the same one
again. It opens nothing but that run's or pool's own doors; whether the run is still the
current one is the catalog's answer, not the token's. The secret it is made of is bound to
the record: one that was restored from a backup issues run numbers a second time, and what
was started by the record before it must not pass for a Run of this one.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

SIGNATURE_LENGTH = 40


@dataclass(frozen=True)
class RunGrant:
    """Speak for one Run of one Job."""

    tenant: str
    job_id: str
    run: int


@dataclass(frozen=True)
class PoolGrant:
    """Speak for the workers of one pool."""

    tenant: str
    pool: str


Grant = RunGrant | PoolGrant


def _sign(secret: str, text: str) -> str:
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()[:SIGNATURE_LENGTH]


def node_secret(secret: str, incarnation: str) -> str:
    """Return what one record's tokens are made of: the platform's secret, bound to the record's incarnation."""
    return hmac.new(secret.encode(), f"nodes:{incarnation}".encode(), hashlib.sha256).hexdigest() if secret else ""


def issue(secret: str, grant: Grant) -> str:
    """Return the token for `grant`."""
    if isinstance(grant, RunGrant):
        text = f"run:{grant.tenant}:{grant.job_id}:{grant.run}"
    else:
        text = f"pool:{grant.tenant}:{grant.pool}"
    return f"{text}:{_sign(secret, text)}"


def verify(secret: str, token: str) -> Grant | None:
    """Return what `token` grants, or None when it was not issued with this secret."""
    text, _, signature = token.rpartition(":")
    # Ours are ASCII, and what is not can neither be encoded always nor compared.
    if not secret or not token.isascii() or not hmac.compare_digest(_sign(secret, text), signature):
        return None
    match text.split(":"):
        case ["run", tenant, job_id, number] if number.isdecimal():
            return RunGrant(tenant, job_id, int(number))
        case ["pool", tenant, pool]:
            return PoolGrant(tenant, pool)
    return None


def endpoint_secret(secret: str, tenant: str, endpoint: str) -> str:
    """Return the word by which an endpoint's replicas know the gateway."""
    return _sign(secret, f"endpoint:{tenant}:{endpoint}")
