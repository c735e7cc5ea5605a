"""Pretend nodes: they hold a real token and say to services.nodes what actors say over /internal/v1."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from genplatform.domain import layout
from genplatform.domain.keys import ClaimKey, RunKey
from genplatform.domain.tokens import Grant, verify
from genplatform.services import claiming, nodes
from genplatform.services.context import Wiring

PNG = b"\x89PNG of a kind"
DIGEST = "d" * 64


def node_secret(w: Wiring) -> str:
    """Return what the tokens of the record's runs and pools are made of."""
    with w.catalog.read() as tx:
        return w.node_secret(tx)


def _grant(w: Wiring, token: str) -> Grant:
    grant = verify(node_secret(w), token)
    assert grant is not None
    return grant


class TrainNode:
    """Executes one Run of a train job, out of the order its actor would get."""

    def __init__(self, w: Wiring, order: Mapping[str, Any]) -> None:
        self._w = w
        self.order = order
        self.grant = _grant(w, order["token"])
        self.run = {"job_id": order["job_id"], "run": order["run"]}
        self.key = RunKey(order["tenant"], order["job_id"], order["run"])
        self.node = "n1"

    def start(self) -> None:
        nodes.started(self._w, self.grant, self.run | {"node": self.node, "worker": self.order["actor"]})

    def heartbeat(self) -> list[dict[str, Any]]:
        return list(nodes.heartbeat(self._w, self.grant, {"runs": [self.run]})["stop"])

    def report(self, **said: Any) -> None:
        nodes.progress(self._w, self.grant, self.run | said)

    def checkpoint(self, step: int, sha256: str = DIGEST) -> str:
        return self._keep("checkpoint", layout.checkpoint(self.key, step), sha256, step)

    def best_checkpoint(self, step: int, sha256: str = DIGEST) -> str:
        return self._keep("best_checkpoint", layout.best_checkpoint(self.key, step), sha256, step)

    def _keep(self, kind: str, key: str, sha256: str, step: int) -> str:
        body = {"kind": kind, "key": key, "sha256": sha256, "size": 3, "step": step}
        nodes.artifact(self._w, self.grant, self.run | body)
        return key

    def publish(self, digest: str = DIGEST, **model: Any) -> str | None:
        body = {
            "recipe": "gan",
            "modality": "image",
            "config": {},
            "tile": 64,
            "key": layout.model(self.grant.tenant, digest),
            "digest": digest,
            "size": 3,
            "card": {"code_version": "0.1.0"},
        }
        said = {"kind": "model"} | self.run | {"model": body | model}
        published: str | None = nodes.publish(self._w, self.grant, said)["model"]
        return published

    def fail(self, cause: str = "user_error", message: str = "It went wrong.", hint: str = "") -> None:
        nodes.failed(self._w, self.grant, self.run | {"cause": cause, "message": message, "hint": hint})

    def release(self, reason: str, step: int | None = None) -> None:
        nodes.released(self._w, self.grant, self.run | {"reason": reason, "step": step})


class CommandNode(TrainNode):
    """Executes one Run of a command."""

    def leave(self, *names: str) -> list[dict[str, Any]]:
        """Put files into the store, each with its name as its content; return what /publish is told of them."""
        stored = [self._w.store.put_bytes(f"{layout.files(self.key)}/{name}", name.encode()) for name in names]
        return [{"key": one.key, "sha256": one.sha256, "size": one.size} for one in stored]

    def publish_files(self, *names: str) -> int:
        """Leave files and publish them; return how many the platform says there are."""
        said = {"kind": "files"} | self.run | {"files": self.leave(*names)}
        return int(nodes.publish(self._w, self.grant, said)["count"])


class PoolNode:
    """A worker of a pool."""

    def __init__(self, w: Wiring, order: Mapping[str, Any], name: str) -> None:
        self._w = w
        self.grant = _grant(w, order["token"])
        self.pool = str(order["pool"])
        self.name = name

    def claim(self, most: int = 1, max_items: int | None = None) -> list[dict[str, Any]]:
        said = {"worker": self.name, "node": "n1", "max": most, "max_items": max_items}
        return list(claiming.claim(self._w, self.grant, said)["shards"])

    def heartbeat(self, orders: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        said = {"worker": self.name, "claims": [claim_of(order) for order in orders]}
        return list(nodes.heartbeat(self._w, self.grant, said)["stop"])

    def store(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Put a claimed shard's files into the store; return what /publish is told of it."""
        claim = ClaimKey(order["tenant"], *claim_of(order).values())
        sha256 = hashlib.sha256(PNG).hexdigest()
        path = f"{layout.shard_name(claim)}/{order['start']:06d}.png"  # one for all: they are equal
        lines = []
        for index in range(order["start"], order["start"] + order["count"]):
            file = {"path": path, "sha256": sha256, "payload_sha256": sha256, "mime": "image/png"}
            item = {"index": index, "custom_id": None, "seed": index, "cond": None, "status": "ok", "files": [file]}
            lines.append(json.dumps(item | {"path": path, "sha256": sha256, "error": None}) + "\n")
        self._w.store.put_bytes(f"{layout.shard(claim)}/{order['start']:06d}.png", PNG)
        stored = self._w.store.put_bytes(f"{layout.shard(claim)}/{layout.MANIFEST}", "".join(lines).encode())
        manifest = {"key": stored.key, "sha256": stored.sha256, "size": stored.size}
        return claim_of(order) | {"count": order["count"], "failed": 0, "manifest": manifest, "bytes": len(PNG)}

    def tell(self, shards: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Publish what was stored; return what came of each."""
        return list(nodes.publish(self._w, self.grant, {"kind": "shards", "shards": list(shards)})["results"])

    def publish(self, order: Mapping[str, Any]) -> bool:
        """Store and publish one claimed shard; tell whether it was taken."""
        (result,) = self.tell([self.store(order)])
        return bool(result["published"])

    def fail(self, order: Mapping[str, Any], cause: str = "user_error", message: str = "It went wrong.") -> None:
        nodes.failed(self._w, self.grant, claim_of(order) | {"cause": cause, "message": message})

    def work(self, most: int = 1000) -> int:
        """Claim and publish shard after shard while there are any; return how many."""
        done = 0
        while done < most and (orders := self.claim()):
            done += sum(self.publish(order) for order in orders)
        return done


def claim_of(order: Mapping[str, Any]) -> dict[str, Any]:
    """Return the words that name a claim."""
    return {key: order[key] for key in ("job_id", "run", "shard", "claim")}
