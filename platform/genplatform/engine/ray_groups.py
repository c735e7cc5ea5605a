"""Placement groups on Ray: what takes room for a run, and the sweep of those that nobody will use any more.

Ray removes a group with the job that made it. The jobs of a platform outlive its runs, so a run that is killed
leaves the groups that it made behind, with all that they hold (seen with 2.60).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ray
from ray._private.state import state  # Ray's developer API: the public table does not tell whose a group was
from ray.core.generated.gcs_pb2 import PlacementGroupTableData
from ray.util import get_placement_group, placement_group, placement_group_table, remove_placement_group
from ray.util.placement_group import PlacementGroup

# Ray gives every node this label, with its id.
NODE_LABEL = "ray.io/node-id"


def hold(name: str, cpus: float, node: str) -> PlacementGroup | None:
    """Take so much room on the node with that id, under a name that is used once; None where it is none.

    Does not wait: what does not fit now is taken when it does.
    """
    if not cpus:
        return None
    where = [{NODE_LABEL: node}]
    return placement_group([{"CPU": cpus}], name=name, lifetime="detached", bundle_label_selector=where)


def found(name: str) -> PlacementGroup | None:
    """Return the group of that name, if it is there."""
    try:
        return get_placement_group(name)
    except ValueError:
        return None


def waits(group: PlacementGroup) -> bool:
    """Tell whether a group has yet to get its room."""
    table: dict[str, Any] = placement_group_table(group)
    return table.get("state") == "PENDING"


def let_go(group: PlacementGroup | None) -> None:
    """Give the room back; quiet when it is."""
    if group is not None:
        remove_placement_group(group)


def named(namespace: str, prefix: str) -> dict[str, PlacementGroup]:
    """Return the groups of a namespace whose names begin so."""
    return {row.name: _group(row) for row in _rows(namespace) if row.name.startswith(prefix)}


def sweep(namespace: str) -> int:
    """Remove the groups whose makers, actors of this namespace, are dead; returns how many."""
    left = [row for row in _rows(namespace) if _is_left(row)]
    for row in left:
        remove_placement_group(_group(row))
    return len(left)


def _is_left(row: Any) -> bool:
    made_by_actor = not ray.ActorID(row.creator_actor_id).is_nil()
    return made_by_actor and row.creator_actor_dead and not row.is_detached


def _rows(namespace: str) -> Iterator[Any]:
    for data in state._connect_and_get_accessor().get_placement_group_table():
        row = PlacementGroupTableData.FromString(data)
        if row.ray_namespace == namespace and row.state != PlacementGroupTableData.REMOVED:
            yield row


def _group(row: Any) -> PlacementGroup:
    return PlacementGroup(ray.PlacementGroupID(row.placement_group_id))
