"""What an operator watches: the line, the endpoints, who leads, and which parts answer."""

from __future__ import annotations

from genplatform.domain.states import JobState
from genplatform.errors import GenctlError
from genplatform.observe.metrics import Gauge
from genplatform.services import health
from genplatform.services.context import Wiring


def measures(w: Wiring) -> list[Gauge]:
    """Return the platform's gauges as they are now; those of the catalog are left out while it does not answer."""
    parts = [((name,), float(seen["ok"])) for name, seen in health.ready(w).items()]
    gauges = [Gauge("genctl_part_up", "Whether a part answers.", ("part",), parts)]
    try:
        return gauges + _of_catalog(w)
    except GenctlError:
        return gauges


def _of_catalog(w: Wiring) -> list[Gauge]:
    now = w.clock()
    with w.catalog.read() as tx:
        standing = sorted(tx.jobs.standing(), key=lambda one: (one.queue, one.state))
        leader = tx.leaders.current()
        endpoints = tx.endpoints.all()
    queued = [one for one in standing if one.state == JobState.QUEUED]
    jobs = [((one.queue, one.state), float(one.number)) for one in standing]
    depth = [((one.queue,), float(one.number)) for one in queued]
    age = [((one.queue,), now - one.since) for one in queued]
    ready = [((e.tenant_id, e.name), float(e.ready)) for e in endpoints]
    leads = leader is not None and leader.expires_at > now
    return [
        Gauge("genctl_jobs", "Jobs that have not ended.", ("queue", "state"), jobs),
        Gauge("genctl_queue_depth", "Jobs that are queued.", ("queue",), depth),
        Gauge("genctl_queue_oldest_age_seconds", "Age of the longest queued job.", ("queue",), age),
        Gauge("genctl_endpoint_ready_replicas", "Replicas that answer.", ("tenant", "endpoint"), ready),
        Gauge("genctl_dispatcher_leads", "Whether a dispatcher leads.", (), [((), float(leads))]),
        Gauge("genctl_dispatcher_term", "The leader's term.", (), [((), float(leader.term if leader else 0))]),
    ]
