"""Records as JSON documents, the stable part of what duroctl prints: times in ISO-8601 UTC, sizes in bytes."""

from typing import Any, Final

import msgspec

from duro.model.events import ParentLink
from duro.model.families import Lineage
from duro.model.records import ChildRecord, ExecutionRecord, InstanceRecord
from duro.retention.families import place_of
from duroctl.render.tables import BLOCKED_COLUMNS, EXECUTION_COLUMNS, INSTANCE_COLUMNS, View
from duroctl.render.text import json_safe
from duroctl.render.units import iso


def encode(document: object, *, indent: int = 0) -> str:
    """A JSON text that is safe to print anywhere; ``indent`` 0: on one line."""
    data = msgspec.json.encode(document)
    return json_safe((msgspec.json.format(data, indent=indent) if indent else data).decode())


def instance_json(record: InstanceRecord) -> dict[str, Any]:
    return {
        "instance_id": record.instance_id,
        "incarnation": record.incarnation,
        "name": record.name,
        "version": record.version,
        "status": record.status,
        "execution_id": record.execution_id,
        "event_count": record.event_count,
        "history_bytes": record.history_bytes,
        "turn_count": record.turn_sequence,
        "created_at": iso(record.created_at_ms),
        "updated_at": iso(record.updated_at_ms),
        "completed_at": _time(record.completed_at_ms),
        "custom_status": _raw(record.custom_status),
        "parent": parent_json(record.parent),
        "detached": record.detached,
        "cancel_reason": record.cancel_reason,
        "blocked": record.blocked,
        "blocked_reason": record.blocked_reason,
        "attempt_count": record.attempt_count,
        "worker_id": record.lease_worker_id,
        "ready_at": _time(record.ready_at_ms),
    }


def execution_json(record: ExecutionRecord) -> dict[str, Any]:
    return {
        "instance_id": record.instance_id,
        "incarnation": record.incarnation,
        "execution_id": record.execution_id,
        "name": record.name,
        "version": record.version,
        "status": record.status,
        "started_at": iso(record.started_at_ms),
        "completed_at": _time(record.completed_at_ms),
        "event_count": record.event_count,
        "history_bytes": record.history_bytes,
    }


def child_json(record: ChildRecord) -> dict[str, Any]:
    return {
        "instance_id": record.instance_id,
        "incarnation": record.incarnation,
        "name": record.name,
        "version": record.version,
        "status": record.status,
        "parent": parent_json(record.parent),
        "detached": record.detached,
        "spawned_at": iso(record.spawned_at_ms),
        "spawner_version": record.spawner_version,
        "spawner_ended_at": _time(record.spawner_ended_at_ms),
        "spawner_end": record.spawner_end,
        "observed_at": _time(record.observed_at_ms),
        "spawner_pruned": not record.spawner_live,
        "completion": record.completion,
        "adopted_at": _time(record.adopted_at_ms),
        "adopted_by": record.adopted_by or None,
        "adopted_reason": record.adopted_reason or None,
        "orphan": place_of(record).kind,
    }


def lineage_json(lineage: Lineage | None) -> dict[str, Any] | None:
    """Who spawned an instance, where that leaves it, and who spawned its parents; None: nobody did."""
    if lineage is None or lineage.child is None or lineage.place is None:
        return None
    return {
        **child_json(lineage.child),
        "standing": lineage.place.standing,
        "why": lineage.place.why,
        "ancestors": [child_json(ancestor) for ancestor in lineage.ancestors],
    }


def parent_json(parent: ParentLink | None) -> dict[str, Any] | None:
    if parent is None:
        return None
    return {
        "instance_id": parent.instance_id,
        "incarnation": parent.incarnation,
        "execution_id": parent.execution_id,
        "event_id": parent.event_id,
    }


def _time(at_ms: int | None) -> str | None:
    return None if at_ms is None else iso(at_ms)


def _raw(text: str | None) -> msgspec.Raw | None:
    return None if not text else msgspec.Raw(text.encode())


INSTANCES: Final = View(
    "duroctl.instances/1", "instances", INSTANCE_COLUMNS, instance_json, lambda record: record.instance_id
)
BLOCKED_INSTANCES: Final = INSTANCES._replace(columns=BLOCKED_COLUMNS)
EXECUTIONS: Final = View(
    "duroctl.executions/1",
    "executions",
    EXECUTION_COLUMNS,
    execution_json,
    lambda record: f"{record.instance_id}/{record.execution_id}",
)
