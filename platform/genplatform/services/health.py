"""Whether the platform can do its work, part by part, as seen from here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from genplatform.domain.times import LEADER_LEASE_SECONDS
from genplatform.errors import GenctlError
from genplatform.services.context import Wiring


def ready(w: Wiring) -> dict[str, dict[str, Any]]:
    """Return for the catalog, Redis and the store whether each is usable now, and why not."""
    return {"catalog": _try(w.catalog.check), "redis": _try(w.queues.ping), "store": _try(w.store.check)}


def status(w: Wiring) -> dict[str, Any]:
    """Return `{state, parts}`: what `ready` sees, and the dispatcher and Ray as the leader last told."""
    parts = [
        {
            "name": name,
            "state": "up" if seen["ok"] else "failed",
            "pid": None,
            "detail": seen["message"],
            "hint": seen["hint"],
        }
        for name, seen in ready(w).items()
    ]
    with suppress(GenctlError):  # the catalog's own line says why
        parts += _leader(w)
    state = "up" if all(p["state"] == "up" for p in parts) else "degraded"
    return {"state": state, "url": w.url, "parts": parts}


def _leader(w: Wiring) -> list[dict[str, Any]]:
    with w.catalog.read() as tx:
        leader = tx.leaders.current()
        counts = tx.jobs.counts()
    behind = w.clock() - (leader.expires_at - LEADER_LEASE_SECONDS if leader else 0)
    leads = leader is not None and leader.expires_at > w.clock()
    jobs = ", ".join(f"{n} {state}" for state, n in sorted(counts.items())) or "no open jobs"
    detail = f"leads in term {leader.term}; {jobs}" if leads and leader else "no dispatcher leads"
    hint = "" if leads else "Jobs wait until a dispatcher is up; see logs/dispatcher.log."
    if leader and leader.term and not leads:
        detail += f"; the last one was heard of {behind:.0f} s ago"
    dispatcher = {"name": "dispatcher", "state": "up" if leads else "down", "pid": None, "detail": detail, "hint": hint}
    seen = leader.data.get("ray", {}) if leads and leader else {}
    if not seen:
        return [dispatcher]
    state = "up" if seen.get("ok") else "failed"
    detail = "; ".join([seen.get("detail", ""), *map(_avoided, leader.data.get("avoided", []) if leader else [])])
    ray = {"name": "ray", "state": state, "pid": None, "detail": detail, "hint": seen.get("hint", "")}
    return [dispatcher, ray]


def _avoided(told: Mapping[str, Any]) -> str:
    lost = f"{told['jobs']} jobs lost work there {told['failures']} times"
    return f"node {told['node']} is avoided until {told['until']}: {lost}"


def _try(check: Callable[[], None]) -> dict[str, Any]:
    try:
        check()
    except GenctlError as error:
        return {"ok": False, "message": error.message, "hint": error.hint}
    return {"ok": True, "message": "", "hint": ""}
