"""Reading that takes several calls of the client: a tree of instances, a history while it grows."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from duro.errors import ExecutionNotFoundError, ExecutionPrunedError, InstanceNotFoundError
from duro.model.records import ChildRecord, ExecutionRecord, InstanceRecord
from duro.model.status import FINAL_INSTANCE_STATUSES

if TYPE_CHECKING:
    from duro.client import Client

FOLLOW_INTERVAL_S: Final = 0.1
"""How often a followed store is asked whether anything was committed (a counter, not a query)."""
_CHILDREN_A_CALL: Final = 1_000


class Node(NamedTuple):
    """One instance of a tree, parents before their children. ``child`` is its lineage, None if it has none: only the
    first node may be without."""

    depth: int
    record: InstanceRecord | ChildRecord
    child: ChildRecord | None
    is_last: bool


def walk_tree(client: "Client", instance_id: str, nodes_max: int, depth_max: int = 0) -> tuple[list[Node], bool]:
    """The tree below an instance in printing order, at most ``nodes_max`` nodes (0: all) and ``depth_max`` levels below
    it (0: all), and whether it was cut.

    Raises:
        InstanceNotFoundError: there is no such instance.
    """
    nodes: list[Node] = []
    root = client.get_instance(instance_id)
    waiting = [Node(0, root, client.get_lineage(instance_id).child, True)]
    seen = {root.incarnation}
    cut = False
    while waiting:
        if nodes_max and len(nodes) == nodes_max:
            return nodes, True
        node = waiting.pop()
        nodes.append(node)
        found = _children(client, node.record.instance_id)
        children = [each for each in found if each.incarnation not in seen]  # a circle there is in a damaged store only
        seen.update(each.incarnation for each in children)
        if children and node.depth == depth_max > 0:
            cut = True
            continue
        last = len(children) - 1
        waiting += [Node(node.depth + 1, child, child, i == last) for i, child in reversed(list(enumerate(children)))]
    return nodes, cut


def _children(client: "Client", instance_id: str) -> list[ChildRecord]:
    """All children; none of an instance that was removed while the tree was walked."""
    found: list[ChildRecord] = []
    after = 0
    try:
        while page := client.list_children(instance_id, limit=_CHILDREN_A_CALL, after=after):
            found += page
            after = page[-1].incarnation
    except InstanceNotFoundError:
        return found
    return found


class Grown(NamedTuple):
    """Events that were committed to one execution since it was looked at last."""

    execution: ExecutionRecord
    events: tuple[str, ...]


def follow_history(client: "Client", instance_id: str, execution_id: int) -> Iterator[Grown]:
    """The events of an execution and of those that continue it, as they are committed, until the instance ends.

    An execution that was removed before it could be read is passed over.
    """
    seen_events = 0
    while True:
        counter = client.store.change_counter()
        instance = client.get_instance(instance_id)
        if grown := _grown(client, instance_id, execution_id, seen_events):
            yield grown
            seen_events += len(grown.events)
        if execution_id < instance.execution_id:  # asked before its events were read: they were all there
            execution_id, seen_events = execution_id + 1, 0
        elif instance.status in FINAL_INSTANCE_STATUSES:
            return
        else:
            while client.store.change_counter() == counter:
                time.sleep(FOLLOW_INTERVAL_S)


def _grown(client: "Client", instance_id: str, execution_id: int, seen: int) -> Grown | None:
    """What is new, if anything."""
    try:
        execution = client.get_execution(instance_id, execution_id)
        if execution.event_count == seen:
            return None
        history = client.read_history(instance_id, execution_id, after=seen)
    except (ExecutionNotFoundError, ExecutionPrunedError):
        return None
    return Grown(history.execution, history.events)
