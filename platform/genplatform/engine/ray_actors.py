"""Actors on Ray, as the host process sees them: start, find, watch, end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray._private.state import (  # Ray's developer API, at home here alone
    available_resources_per_node,
    total_resources_per_node,
)
from ray.exceptions import (
    ActorUnavailableError,
    GetTimeoutError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
)
from ray.util import list_named_actors

from genplatform.domain.names import node_name
from genplatform.engine import ray_groups
from genplatform.engine.loading import load
from genplatform.engine.ray_groups import NODE_LABEL
from genplatform.engine.ray_messages import ended, out_of_memory, told
from genplatform.engine.ray_runners import WATCH_GROUP, RayRunners, make
from genplatform.engine.seam import End, Liveness

log = logging.getLogger(__name__)

# What has arrived is read at once; this only bounds a read from a cluster that goes away.
READ_SECONDS = 5.0


@dataclass
class _Watched:
    """An actor whose end this process waits for, and whose `ping` will have told its node.

    `started` only for one that this process made and that is not placed yet; `group` is what holds the
    room of a runner, if it takes any.
    """

    handle: Any
    joined: Any
    pinged: Any
    cpus: float = 0.0
    gpus: float = 0.0
    started: Any = None
    group: Any = None
    is_runner: bool = False


class RayActors:
    """The methods of the host about actors. Arguments and results are JSON.

    A runner that was handed an order is, from then on, the actor of the name it was handed.
    """

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._watched: dict[str, _Watched] = {}
        self._runners = RayRunners(namespace)

    def methods(self) -> dict[str, Callable[..., Any]]:
        """Return what the link may call."""
        return {
            "nodes": self.nodes,
            "capacity": self.capacity,
            "start": self.start,
            "stop": self.stop,
            "kill": self.kill,
            "liveness": self.liveness,
            "actors": self.actors,
            "deaths": self.deaths,
            "tend": self.tend,
        }

    def nodes(self) -> list[str]:
        """Return the names of the nodes that are alive."""
        return sorted(_nodes())

    def capacity(self, avoid: Sequence[str]) -> list[Any]:
        """Return each node's id, CPUs and GPUs, then free CPUs and GPUs less what actors not yet placed will take."""
        # First, so that one placed in between is counted twice for a moment and never not at all.
        waiting = self._unplaced()
        whole, free = total_resources_per_node(), _free(avoid)
        return [
            [[node, float(has.get("CPU", 0.0)), float(has.get("GPU", 0.0))] for node, has in whole.items()],
            max(0.0, float(free.get("CPU", 0.0)) - sum(one.cpus for one in waiting)),
            max(0.0, float(free.get("GPU", 0.0)) - sum(one.gpus for one in waiting)),
        ]

    def _unplaced(self) -> list[_Watched]:
        starting = [one for one in list(self._watched.values()) if one.started is not None]
        if starting:
            refs = [one.started for one in starting]
            placed, _ = ray.wait(refs, num_returns=len(refs), timeout=0)
            for one in starting:
                if one.started in placed and not (one.group and ray_groups.waits(one.group)):
                    one.started = None
                    if one.is_runner:
                        # Ray titles a process by its actor's class as a call begins: after this one it is the new one.
                        one.handle.ping.remote()
        return [one for one in starting if one.started is not None]

    def start(
        self,
        name: str,
        actor: str,
        order: Mapping[str, Any],
        cpus: float,
        gpus: float,
        avoid: Sequence[str],
        warmly: bool,
    ) -> None:
        """Have a runner become the actor, or make it (or find it) and tell it to start.

        Raises LoadError when there is no such class.
        """
        if warmly and not gpus and self._start_warmly(name, actor, order, cpus, avoid):
            return
        options = {"name": name, "get_if_exists": True, "num_cpus": cpus, "num_gpus": gpus}
        handle = make(actor, order, **options, label_selector=_anywhere_but(avoid))
        started = handle.start.remote()
        self._watched[name] = _Watched(handle, _join(handle), handle.ping.remote(), cpus, gpus, started)

    def _start_warmly(self, name: str, actor: str, order: Mapping[str, Any], cpus: float, avoid: Sequence[str]) -> bool:
        """Have a runner become the actor, unless one did; tells whether there is nothing left to do."""
        load(actor)
        existing = list_named_actors()
        if name in self._runners.became(existing):
            return True
        if name in existing:
            return False
        given = self._runners.give(name, actor, order, cpus, existing, _ids(avoid))
        if given is None:
            return False
        handle, started, group = given
        self._watched[name] = _Watched(handle, _join(handle), handle.ping.remote(), cpus, 0.0, started, group, True)
        return True

    def tend(self, warm: int | None, runner: str) -> int:
        """Sweep what nobody will use any more, and look after the runners; returns how many are ready."""
        swept = ray_groups.sweep(self._namespace)
        if swept:
            log.warning("groups_swept count=%d", swept)
        return self._runners.tend(warm, runner)

    def stop(self, name: str, reason: str) -> None:
        """Ask the actor to stop, if there is one; the answer is not waited for."""
        handle = self._find([name]).get(name)
        if handle is not None:
            handle.stop.remote(reason)

    def kill(self, name: str) -> None:
        """End the actor's process, if there is one."""
        handle = self._find([name]).get(name)
        if handle is not None:
            self._end(name, handle)

    def _end(self, name: str, handle: Any) -> None:
        ray.kill(handle, no_restart=True)
        runner = self._runners.whose(name)
        if runner is not None:
            self._runners.give_back(runner)

    def liveness(self, names: Sequence[str], seconds: float) -> dict[str, str]:
        """Ping all actors at once and say what each did within `seconds`."""
        handles = self._find(names)
        pings = {handle.ping.remote(): name for name, handle in handles.items()}
        answered: list[Any] = []
        if pings:
            answered, _ = ray.wait(list(pings), num_returns=len(pings), timeout=seconds)
        found = {name: Liveness.SILENT if name in handles else Liveness.GONE for name in names}
        found.update({pings[ref]: _answer(ref) for ref in answered})
        for ref in answered:
            # The first answer tells the node; the ping that was sent with the start may be slower than this one.
            if found[pings[ref]] is Liveness.ALIVE and pings[ref] in self._watched:
                self._watched[pings[ref]].pinged = ref
        return {name: state.value for name, state in found.items()}

    def actors(self) -> list[str]:
        """Return the names of all actors of the namespace that exist, the waiting ones too; not of idle runners."""
        existing = list_named_actors()
        others = [name for name in existing if not self._runners.is_one(name)]
        return sorted([*others, *self._runners.became(existing)])

    def deaths(self, names: Sequence[str]) -> list[list[str]]:
        """Return `[name, message, end, node]` for those of `names` that ended; watches those it did not know yet."""
        gone = [[name, "It does not exist.", End.UNKNOWN.value, ""] for name in self._watch(names)]
        joined = {one.joined: name for name, one in list(self._watched.items())}
        over, _ = ray.wait(list(joined), num_returns=len(joined), timeout=0) if joined else ([], [])
        for ref in over:
            name = joined[ref]
            handle = self._watched[name].handle
            ending = _ending(ref)
            if ending is None:
                self._watched[name].joined = _join(handle)
                continue
            # One whose work is over still holds its process and its resources.
            self._end(name, handle)
            message, end = ending
            gone.append([name, message, end.value, _node_of(self._watched.pop(name))])
        return gone

    def _watch(self, names: Sequence[str]) -> list[str]:
        """Watch exactly `names`; return those that do not exist."""
        for forgotten in set(self._watched) - set(names):
            # One that is just being started may not be in the caller's list yet.
            if self._watched[forgotten].started is None:
                del self._watched[forgotten]
        unknown = [name for name in names if name not in self._watched]
        if not unknown:
            return []
        found = self._find(unknown)
        for name, handle in found.items():
            # Whoever started it may have died before it was told to.
            runner = self._runners.whose(name)
            if runner is None:
                handle.start.remote()
            else:
                self._runners.take_up(runner, handle)
            self._watched[name] = _Watched(handle, _join(handle), handle.ping.remote())
        return [name for name in unknown if name not in found]

    def _find(self, names: Sequence[str]) -> dict[str, Any]:
        """Return handles of those of `names` that exist.

        Existence is told by one list of all names: `get_actor` raises the same ValueError for
        an actor that is gone as for a cluster that cannot say.
        """
        existing = set(list_named_actors()) if names else set()
        became = self._runners.became(existing)
        handles = {}
        for name in names:
            actor = became.get(name, name)
            if actor not in existing:
                continue
            known = self._watched.get(name)
            try:
                handles[name] = known.handle if known is not None else ray.get_actor(actor)
            except ValueError:
                # It ended between the list and the look, if the cluster still answers.
                if actor in list_named_actors():
                    raise
        return handles


def _nodes() -> dict[str, list[str]]:
    """Return the ids of the nodes that are alive, by name."""
    found: dict[str, list[str]] = {}
    for node in ray.nodes():
        if node["Alive"]:
            name = node_name(node["NodeName"], node["NodeManagerAddress"], node["NodeManagerHostname"])
            found.setdefault(name, []).append(node["NodeID"])
    return found


def _ids(names: Sequence[str]) -> list[str]:
    nodes = _nodes() if names else {}
    return [node for name in names for node in nodes.get(name, ())]


def _free(avoid: Sequence[str]) -> Mapping[str, float]:
    """Return what is free on the nodes that are not to be avoided."""
    avoided = _ids(avoid)
    if not avoided:
        return dict(ray.available_resources())
    others = [resources for node, resources in available_resources_per_node().items() if node not in avoided]
    return {name: sum(float(resources.get(name, 0.0)) for resources in others) for name in ("CPU", "GPU")}


def _anywhere_but(avoid: Sequence[str]) -> dict[str, str] | None:
    """Return the label selector that keeps an actor off these nodes."""
    avoided = _ids(avoid)
    # Without blanks: Ray would take one for a part of the id that follows it.
    return {NODE_LABEL: f"!in({','.join(avoided)})"} if avoided else None


def _node_of(watched: _Watched) -> str:
    """Return the name of the node an actor was on, as it told; empty when it did not."""
    try:
        told_by_it = ray.get(watched.pinged, timeout=0)
    except (RayError, GetTimeoutError):
        return ""
    return str(told_by_it.get("node", ""))


def _join(handle: Any) -> Any:
    return handle.join.options(concurrency_group=WATCH_GROUP).remote()


def _answer(ref: Any) -> Liveness:
    try:
        ray.get(ref, timeout=READ_SECONDS)
    except (ActorUnavailableError, GetTimeoutError):
        return Liveness.SILENT
    except (RayActorError, OutOfMemoryError):
        return Liveness.GONE
    except RayTaskError:
        return Liveness.ALIVE  # it answered, if badly
    return Liveness.ALIVE


def _ending(ref: Any) -> tuple[str, End] | None:
    """Return why and how an actor whose `join` came back is over; None when it is not."""
    try:
        outcome = ray.get(ref, timeout=READ_SECONDS)
    except (ActorUnavailableError, GetTimeoutError):
        return None
    except OutOfMemoryError as error:
        return out_of_memory(str(error)), End.MEMORY
    except RayActorError as error:
        return told(str(error)), End.PREEMPTED if error.preempted else ended(str(error))
    except RayTaskError as error:
        return told(str(error)), End.BROKEN
    except RayError:
        log.exception("end_not_understood")
        return None  # asked again: what one actor's end looks like must not hide the ends of all others
    return told(f"It ended: {outcome}."), End.OVER
