"""Endpoints on Ray Serve, as the host process sees them: one Serve application each.

What was applied last is kept beside Serve's own record, in the key-value store of Ray's
control plane, so that both are lost together: a dispatcher that restarts finds the
generations again, and one that finds no application finds no stale generation either.
"""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Callable, Mapping
from typing import Any

from ray import serve
from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_get, _internal_kv_put
from ray.serve import context
from ray.serve.schema import ApplicationStatus, ApplicationStatusOverview

from genplatform.engine.loading import load
from genplatform.engine.ray_messages import told

HOST = "127.0.0.1"
KV_NAMESPACE = "genctl-serving"

_STATES = {
    ApplicationStatus.NOT_STARTED: "starting",
    ApplicationStatus.DEPLOYING: "starting",
    ApplicationStatus.RUNNING: "running",
    ApplicationStatus.DEPLOY_FAILED: "failed",
    ApplicationStatus.DELETING: "stopping",
}


class RayApps:
    """The methods of the host about endpoints. Arguments and results are JSON."""

    def methods(self) -> dict[str, Callable[..., Any]]:
        """Return what the link may call."""
        return {"apply": self.apply, "remove": self.remove, "served": self.served}

    def apply(
        self,
        *,
        name: str,
        app: str,
        order: Mapping[str, Any],
        min_replicas: int,
        max_replicas: int,
        generation: int,
        port: int,
    ) -> None:
        """Deploy the endpoint unless exactly this was applied and still stands."""
        wish = {"order": dict(order), "min": min_replicas, "max": max_replicas, "generation": generation}
        fingerprint = hashlib.sha256(json.dumps(wish, sort_keys=True).encode()).hexdigest()
        if _remembered(name).get("wish") == fingerprint and name in serve.status().applications:
            return
        if _client() is None:
            serve.start(proxy_location="HeadOnly", http_options={"host": HOST, "port": port or _free_port()})
        target = load(app)(dict(order), min_replicas, max_replicas)
        serve.run_many(
            [serve.RunTarget(target, name=name, route_prefix=order["route"])],
            wait_for_ingress_deployment_creation=False,
            wait_for_applications_running=False,
        )
        memory = {"wish": fingerprint, "generation": generation, "route": order["route"]}
        _internal_kv_put(name, json.dumps(memory), namespace=KV_NAMESPACE)

    def remove(self, name: str) -> None:
        """Take the endpoint down; its replicas finish what they are at."""
        _internal_kv_del(name, namespace=KV_NAMESPACE)
        if name in serve.status().applications:
            serve.delete(name, _blocking=False)

    def served(self) -> list[dict[str, Any]]:
        """Return every application that Serve has."""
        applications = serve.status().applications
        port = _port() if applications else 0
        return [_served(name, one, port) for name, one in sorted(applications.items())]


def _served(name: str, one: ApplicationStatusOverview, port: int) -> dict[str, Any]:
    ready = _ready(one)
    state = _STATES.get(one.status)
    if state is None:  # UNHEALTHY: what is left may still answer, and Serve replaces the rest
        state = "running" if ready else "failed"
    memory = _remembered(name)
    return {
        "name": name,
        "state": state,
        "ready": ready,
        "url": f"http://{HOST}:{port}{memory.get('route', '')}",
        "message": "" if one.status is ApplicationStatus.RUNNING else _message(one),
        "generation": memory.get("generation", 0),
    }


def _ready(one: ApplicationStatusOverview) -> int:
    # A request passes through all deployments of an application: the fewest replicas count.
    running = [sum(n for s, n in d.replica_states.items() if s == "RUNNING") for d in one.deployments.values()]
    return min(running, default=0)


def _message(one: ApplicationStatusOverview) -> str:
    """Return a deployment's message, if one has any, else the application's own."""
    text = "\n".join(d.message for d in one.deployments.values() if d.message) or one.message
    return told(text) if text else ""


def _remembered(name: str) -> dict[str, Any]:
    text = _internal_kv_get(name, namespace=KV_NAMESPACE)
    return dict(json.loads(text)) if text else {}


def _client() -> Any:
    """Return Serve's client, whoever started it; None when Serve does not run."""
    return context._get_global_client(raise_if_no_controller_running=False)


def _port() -> int:
    client = _client()
    return int(client.http_config.port) if client is not None else 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
