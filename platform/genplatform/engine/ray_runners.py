"""Warm runners on Ray: made ahead, handed one order each, and what they hold given back.

An actor's name is fixed when it is made, so which runner became which actor is kept in the key-value
store of Ray's control plane, beside the names themselves: both are lost together, and every dispatcher
finds both. An entry is written once, by whoever comes first, and holds the whole order: should its
writer die before the runner has it, whoever finds the entry hands it over again.

An idle runner asks Ray for nothing, so it is in nobody's way. What it takes once it has an order is
taken by a placement group in which nothing is placed, so that Ray's own account of what is free
stays true for everybody, whoever else died.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray._private.state import available_resources_per_node  # Ray's developer API, at home here alone
from ray.exceptions import RayError
from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_get, _internal_kv_list, _internal_kv_put
from ray.util import list_named_actors
from ray.util.placement_group import PlacementGroup

from genplatform.engine import ray_groups
from genplatform.engine.loading import load

log = logging.getLogger(__name__)

MAX_CONCURRENCY = 8
# `join` blocks, and a dispatcher that died leaves its call behind: in a group of its own it
# can never take the threads that `ping` and `stop` need. A queued `join` returns with the first.
WATCH_GROUP = "watch"
KV_NAMESPACE = "genctl-runners"
# After one could not be made, or found no room, so long none is made.
PAUSE_SECONDS = 60.0
# Python, PyTorch and a first step take their time on a busy machine; one that answered once has less.
WARMING_SECONDS = 120.0
SILENT_SECONDS = 20.0
FOUND_SECONDS = 0.5
# One that waits answers within milliseconds, or somewhat later on a busy machine; one that never does costs so much.
PROOF_SECONDS = 2.0

Entry = Mapping[str, Any]


def make(actor: str, order: Mapping[str, Any], **options: Any) -> Any:
    """Make the detached actor that `module:Class` names (or find it); raises LoadError when there is no such class."""
    remote = ray.remote(concurrency_groups={WATCH_GROUP: 1})(load(actor))
    every = {"lifetime": "detached", "max_concurrency": MAX_CONCURRENCY, "max_restarts": 0}
    return remote.options(**every, **options).remote(dict(order))


@dataclass
class _Idle:
    """A runner that waits, and what it was asked last."""

    handle: Any
    asked: Any
    since: float
    answered: bool = False
    is_roomy: bool = True


class RayRunners:
    """The runners of one namespace. Their names are used once: `warm/NAMESPACE/NODE/TOKEN`."""

    def __init__(self, namespace: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._namespace = namespace
        self._prefix = f"warm/{namespace}/"
        self._clock = clock
        self._idle: dict[str, _Idle] = {}
        self._entries: dict[str, Entry] = {}
        self._not_before = clock()

    def is_one(self, actor: str) -> bool:
        """Tell whether an actor is called as runners are."""
        return actor.startswith(self._prefix)

    def became(self, existing: Collection[str]) -> dict[str, str]:
        """Return the names of the actors that runners among the `existing` ones became, and which did."""
        entries = {runner: self._entry(runner) for runner in existing if self.is_one(runner)}
        return {entry["name"]: runner for runner, entry in entries.items() if entry is not None and entry["name"]}

    def whose(self, name: str) -> str | None:
        """Return the runner that is known to have become the actor."""
        return next((runner for runner, entry in self._entries.items() if entry["name"] == name), None)

    def give(
        self,
        name: str,
        actor: str,
        order: Mapping[str, Any],
        cpus: float,
        existing: Collection[str],
        avoid: Collection[str],
    ) -> tuple[Any, Any, PlacementGroup | None] | None:
        """Have an idle runner become the actor; returns its handle, what comes of telling it, and what it holds.

        None when none is ready on a node that has the room and is not to be avoided. What was said a while ago
        proves nothing: when a node dies, the run that was lost with it is to be started again at once.
        """
        ready = [runner for runner in self._ready() if runner in existing and _node(runner) not in avoid]
        room = available_resources_per_node() if ready else {}
        entry = {"name": name, "actor": actor, "order": dict(order), "cpus": cpus}
        for runner in ready:
            if room.get(_node(runner), {}).get("CPU", 0.0) < cpus:
                continue
            if not self._is_fit(self._idle[runner]):
                continue
            one = self._idle.pop(runner)
            if not self._enter(runner, entry):
                continue  # another dispatcher was first
            group = ray_groups.hold(runner, cpus, _node(runner))
            return one.handle, self.tell(runner, one.handle), group
        return None

    def tell(self, runner: str, handle: Any) -> Any:
        """Tell a runner what it was handed; one that knows it already takes it as it is."""
        entry = self._entries[runner]
        return handle.take.remote(entry["actor"], entry["order"])

    def take_up(self, runner: str, handle: Any) -> None:
        """See to it that what an earlier dispatcher handed over is held and told."""
        if ray_groups.found(runner) is None:
            ray_groups.hold(runner, self._entries[runner]["cpus"], _node(runner))
        self.tell(runner, handle)

    def give_back(self, runner: str) -> None:
        """Give back what a runner held that is being ended; its entry stays for as long as it does."""
        ray_groups.let_go(ray_groups.found(runner))

    def _forget(self, runner: str) -> None:
        self.give_back(runner)
        _internal_kv_del(runner, namespace=KV_NAMESPACE)
        self._entries.pop(runner, None)

    def tend(self, warm: int | None, runner: str) -> int:
        """Give back what runners that are no more held, and bring idle ones nearer to `warm` a node.

        None leaves them as they are. `runner` is the class. Returns how many are ready.
        """
        # In this order nothing that lives is missed: a runner is there before its entry, that before its group.
        groups = ray_groups.named(self._namespace, self._prefix)
        entered = {key.decode() for key in _internal_kv_list(self._prefix, namespace=KV_NAMESPACE)}
        existing = {name for name in list_named_actors() if self.is_one(name)}
        for gone in (entered | self._entries.keys()) - existing:
            self._forget(gone)
        for name in groups.keys() - entered:
            ray_groups.let_go(groups[name])
        for one in entered & existing:
            if self._entry(one) == _RETIRED:
                self._end(one)
        self._look_at_idle(existing - entered)
        if warm is not None:
            self._resize(warm, runner)
        return len(self._ready())

    def _look_at_idle(self, there: Collection[str]) -> None:
        """Read what idle runners answered, and ask again."""
        now = self._clock()
        for name in self._idle.keys() - there:
            if not self._idle.pop(name).answered:
                self._not_before = now + PAUSE_SECONDS
        found = {name: handle for name in there - self._idle.keys() if (handle := _handle(name)) is not None}
        self._idle |= {name: _Idle(handle, handle.ping.remote(), now) for name, handle in found.items()}
        if found:  # what a dispatcher that takes over finds ready is to be of use at once
            ray.wait([self._idle[name].asked for name in found], num_returns=len(found), timeout=FOUND_SECONDS)
        for name, one in list(self._idle.items()):
            if self._has_answered(one):
                one.asked, one.since = one.handle.ping.remote(), now
            elif now - one.since > (SILENT_SECONDS if one.answered else WARMING_SECONDS):
                log.warning("runner_silent runner=%s", name)
                self._retire(name)

    def _resize(self, warm: int, runner: str) -> None:
        """End what is too much, or make one of those that lack."""
        now = self._clock()
        for name in [name for name, one in self._idle.items() if not one.is_roomy]:
            self._not_before = now + PAUSE_SECONDS
            self._retire(name)
        count = Counter(map(_node, self._idle))
        for name in list(self._idle):
            if count[_node(name)] > warm:
                count[_node(name)] -= 1
                self._retire(name)
        if now < self._not_before or len(self._ready()) < len(self._idle):
            return  # one at a time
        for node in ray.nodes():
            if node["Alive"] and node["Resources"].get("CPU") and count[node["NodeID"]] < warm:
                self._make(runner, node["NodeID"])
                return

    def _make(self, runner: str, node: str) -> None:
        name = f"{self._prefix}{node}/{secrets.token_hex(4)}"
        handle = make(runner, {}, name=name, num_cpus=0, label_selector={ray_groups.NODE_LABEL: node})
        self._idle[name] = _Idle(handle, handle.ping.remote(), self._clock())

    def _retire(self, name: str) -> None:
        """End an idle runner, unless somebody has just handed it something."""
        self._idle.pop(name, None)
        if self._enter(name, _RETIRED):
            self._end(name)

    def _end(self, name: str) -> None:
        handle = _handle(name)
        if handle is not None:
            ray.kill(handle, no_restart=True)

    def _ready(self) -> list[str]:
        return [name for name, one in self._idle.items() if self._has_answered(one) or one.answered]

    def _is_fit(self, one: _Idle) -> bool:
        """Tell whether a runner answers this moment, on a node that lives; one that does not is ready no more."""
        proof = one.handle.ping.remote()
        done, _ = ray.wait([proof], timeout=PROOF_SECONDS)
        try:
            # One that another dispatcher has made a worker answers as that.
            one.answered = bool(done) and not ray.get(proof, timeout=0).get("orphaned", True)
        except RayError:
            one.answered = False
        one.asked = proof
        return one.answered

    def _has_answered(self, one: _Idle) -> bool:
        """Tell whether what was asked last is answered, and note what the answer says."""
        done, _ = ray.wait([one.asked], timeout=0)
        if not done:
            return False
        try:
            one.is_roomy = bool(ray.get(one.asked, timeout=0).get("roomy", True))
        except RayError:
            return False  # it is gone, or will be: the list of names tells
        one.answered = True
        return True

    def _enter(self, runner: str, entry: Entry) -> bool:
        """Write a runner's one entry; False when there is one already."""
        if _internal_kv_put(runner, json.dumps(entry), overwrite=False, namespace=KV_NAMESPACE):
            return False
        self._entries[runner] = entry
        return True

    def _entry(self, runner: str) -> Entry | None:
        known = self._entries.get(runner)
        if known is None:
            written = _internal_kv_get(runner, namespace=KV_NAMESPACE)
            if written is None:
                return None
            known = self._entries[runner] = json.loads(written)
        return known


# The entry of one that is being ended: nobody can hand it anything any more.
_RETIRED: Entry = {"name": ""}


def _node(runner: str) -> str:
    """Return the id of the node that a runner was made for."""
    return runner.split("/")[-2]


def _handle(name: str) -> Any:
    try:
        return ray.get_actor(name)
    except ValueError:  # it ended in between, or the cluster cannot say: the next look tells
        return None
