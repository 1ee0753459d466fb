"""A tree of instances: drawn for a terminal, as rows with a depth elsewhere."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from duro.model.records import ChildRecord, InstanceRecord
from duro.retention.families import place_of
from duroctl.render.records import child_json, instance_json
from duroctl.render.tables import Column, View
from duroctl.render.text import versioned, visible_field


def tree_lines(nodes: Sequence[Any]) -> list[str]:
    """``nodes`` (see ``walking.Node``) in preorder, drawn with their branches."""
    lines = []
    bars: list[str] = []
    for node in nodes:
        if node.depth == 0:
            lines.append(_label(node))
            continue
        del bars[node.depth - 1 :]
        lines.append("".join(bars) + ("└── " if node.is_last else "├── ") + _label(node))
        bars.append("    " if node.is_last else "│   ")
    return lines


def _label(node: Any) -> str:
    record: InstanceRecord | ChildRecord = node.record
    text = f"{visible_field(record.instance_id)}  {versioned(record.name, record.version)}  {record.status}"
    child: ChildRecord | None = node.child
    if child is None:
        return text
    above = f"child of {visible_field(child.parent.instance_id)}, " if node.depth == 0 else ""
    return f"{text}  [{above}{', '.join(_marks(child))}]"


def _marks(child: ChildRecord) -> Iterator[str]:
    """Which execution spawned it, and what is out of the ordinary."""
    pruned = " (pruned)" if child.parent_status is not None else " (its instance is gone)"
    yield f"exec {child.parent.execution_id}{'' if child.spawner_live else pruned}"
    if child.adopted_at_ms is not None:
        yield "adopted"
    elif child.detached:
        yield "detached"
    if (kind := place_of(child).kind) is not None:
        yield "UNKNOWN whether it is an orphan" if kind == "unknown" else f"ORPHAN: {kind}"


def _spawner_pruned(node: Any) -> str | None:
    return None if node.child is None else str(not node.child.spawner_live).lower()


def _orphan(node: Any) -> str | None:
    return None if node.child is None else place_of(node.child).kind


def _json(node: Any) -> dict[str, Any]:
    if node.child is not None:
        return {"depth": node.depth, **child_json(node.child)}
    root = instance_json(node.record)
    shown = ("instance_id", "incarnation", "name", "version", "status", "parent", "detached")
    return {"depth": 0, **{key: root[key] for key in shown}}


def _lineage(attribute: str) -> Any:
    return lambda node: None if node.child is None else getattr(node.child, attribute)


def _parent(attribute: str) -> Any:
    return lambda node: None if node.child is None else getattr(node.child.parent, attribute)


TREE: Final = View(
    "duroctl.tree/1",
    "nodes",
    (
        Column("depth", None, "number", lambda node: node.depth),
        Column("instance_id", None, "id", lambda node: node.record.instance_id),
        Column("name", None, "text", lambda node: node.record.name),
        Column("version", None, "text", lambda node: node.record.version),
        Column("status", None, "text", lambda node: node.record.status),
        Column("detached", None, "text", lambda node: str(node.record.detached).lower()),
        Column("parent_instance_id", None, "id", _parent("instance_id")),
        Column("parent_execution_id", None, "number", _parent("execution_id")),
        Column("spawned_at", None, "time", _lineage("spawned_at_ms")),
        Column("observed_at", None, "time", _lineage("observed_at_ms")),
        Column("spawner_pruned", None, "text", _spawner_pruned),
        Column("orphan", None, "text", _orphan),
        Column("spawner_ended_at", None, "time", _lineage("spawner_ended_at_ms")),
        Column("spawner_end", None, "text", _lineage("spawner_end")),
        Column("completion", None, "text", _lineage("completion")),
    ),
    _json,
    lambda node: str(node.record.instance_id),
)
