"""Keep a replica on a loopback node off the network.

Ray Serve 2.60 binds every replica's gRPC server (calls between deployments) to all
interfaces; no setting changes it. On a node that the cluster knows by a loopback address
nobody can call it from elsewhere, so there it is bound to that address. On other nodes it
stays as Ray has it: behind Ray's token, and the cluster's network policy.
"""

from __future__ import annotations

import ipaddress
import logging
from typing import Any

import ray

log = logging.getLogger(__name__)

EVERYWHERE = "[::]:0"


def keep_to_loopback() -> bool:
    """Bind this process's coming gRPC server to the node's address if that is a loopback one; tells whether."""
    from ray.serve._private import replica

    address = ray.util.get_node_ip_address()
    bind = getattr(replica, "add_port_to_grpc_server", None)
    if not ipaddress.ip_address(address).is_loopback:
        return False
    if bind is None:
        log.warning("replica_not_kept_to_loopback ray=%s", ray.__version__)
        return False

    def bind_here(server: Any, where: str) -> int:
        return int(bind(server, f"{address}:0" if where == EVERYWHERE else where))

    replica.add_port_to_grpc_server = bind_here
    return True
