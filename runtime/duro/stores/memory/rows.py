"""The dump of the memory store: rows as the migrations of the SQLite store name them."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from duro.model.ledger import RunSource
from duro.model.pruning import Hold
from duro.model.records import WorkerRecord
from duro.model.removal import PruneRun
from duro.stores.memory.families import Removed
from duro.stores.memory.instances import Instance, as_json

Row = dict[str, Any]


def rows_of(of_instance: Callable[[Instance], Iterable[Row]], instances: list[Instance]) -> list[Row]:
    return [row for instance in instances for row in of_instance(instance)]


def _text(value: str | None) -> str | None:
    """An enum member as its plain text."""
    return str(value) if value is not None else None


def instance_row(instance: Instance) -> Row:
    return {
        "incarnation": instance.incarnation,
        "instance_id": instance.instance_id,
        "name": instance.name,
        "version": instance.version,
        "status": str(instance.status),
        "execution_id": instance.execution_id,
        "created_at_ms": instance.created_at_ms,
        "updated_at_ms": instance.updated_at_ms,
        "completed_at_ms": instance.completed_at_ms,
        "start_request_id": instance.start_request_id,
        "custom_status": instance.custom_status,
        "turn_sequence": instance.turn_sequence,
        "last_commit_token": instance.last_commit_token,
        "attempt_count": instance.attempt_count,
        "lease_worker_id": instance.lease_worker_id,
        "lease_epoch": instance.lease_epoch,
        "ready_at_ms": instance.ready_at_ms,
        "waits": msgspec.json.encode(instance.waits).decode(),
        "cancel_requested_at_ms": instance.cancel_requested_at_ms,
        "cancel_reason": instance.cancel_reason,
        "cancel_delivered": int(instance.cancel_delivered),
        "blocked": _text(instance.blocked),
        "blocked_reason": instance.blocked_reason,
        "prune_policy": instance.prune_policy,
        "pruned_through": instance.pruned_through,
        "prune_due_at_ms": instance.prune_due_at_ms,
        "swept_at_ms": instance.swept_at_ms,
        "live_from": instance.live_from,
    }


_WITHOUT = ("lease_worker_id", "ready_at_ms", "waits", "blocked", "blocked_reason", "attempt_count")


def removed_row(removed: Removed) -> Row:
    row = {name: value for name, value in instance_row(removed.instance).items() if name not in _WITHOUT}
    return row | {
        "tree": removed.tree,
        "depth": removed.depth,
        "executions": removed.executions,
        "events": removed.events,
        "history_bytes": removed.history_bytes,
        "removed_at_ms": removed.removed_at_ms,
        "reclaim_at_ms": removed.reclaim_at_ms,
        "run_id": removed.run_id,
        "reclaiming": int(removed.reclaiming),
        "archive": removed.archive,
        "unarchived": int(removed.unarchived),
    }


def execution_rows(instance: Instance) -> Iterator[Row]:
    for execution_id, execution in sorted(instance.executions.items()):
        yield {
            "incarnation": instance.incarnation,
            "execution_id": execution_id,
            "version": execution.version,
            "status": str(execution.status),
            "started_at_ms": execution.started_at_ms,
            "completed_at_ms": execution.completed_at_ms,
            "event_count": execution.event_count,
            "history_bytes": execution.history_bytes,
            "input": execution.input,
            "removal": str(execution.removal),
            "pruned_at_ms": execution.pruned_at_ms,
            "reclaim_at_ms": execution.reclaim_at_ms,
            "run_id": execution.run_id,
            "takes_children": int(execution.takes_children),
            "archive": execution.archive,
            "unarchived": int(execution.unarchived),
        }


def history_rows(instance: Instance) -> Iterator[Row]:
    for execution_id, execution in sorted(instance.executions.items()):
        for event_id, data in enumerate(execution.history, start=execution.reclaimed_events + 1):
            yield {
                "incarnation": instance.incarnation,
                "execution_id": execution_id,
                "event_id": event_id,
                "data": data,
            }


def message_rows(instance: Instance) -> Iterator[Row]:
    for message_id, data in sorted(instance.messages.items()):
        yield {"incarnation": instance.incarnation, "message_id": message_id, "data": data}


def mailbox_rows(instance: Instance) -> Iterator[Row]:
    for event in sorted(instance.mailbox.values(), key=lambda event: (event.name, event.sequence)):
        yield {
            "incarnation": instance.incarnation,
            "name": event.name,
            "sequence": event.sequence,
            "data": event.data,
        }


def timer_rows(instance: Instance) -> Iterator[Row]:
    for event_id, fire_at_ms in sorted(instance.timers.items()):
        yield {
            "incarnation": instance.incarnation,
            "execution_id": instance.execution_id,
            "event_id": event_id,
            "fire_at_ms": fire_at_ms,
        }


def activity_rows(instance: Instance) -> Iterator[Row]:
    for event_id, activity in sorted(instance.activities.items()):
        yield {
            "incarnation": instance.incarnation,
            "execution_id": instance.execution_id,
            "event_id": event_id,
            "name": activity.name,
            "scheduled_at_ms": activity.scheduled_at_ms,
            "visible_at_ms": activity.visible_at_ms,
            "attempt": activity.attempt,
            "lease_worker_id": activity.lease_worker_id,
            "lease_epoch": activity.lease_epoch,
        }


def lineage_rows(instance: Instance) -> Iterator[Row]:
    lineage = instance.lineage
    if lineage is not None:
        yield {
            "child_incarnation": instance.incarnation,
            "parent_instance_id": lineage.parent.instance_id,
            "parent_incarnation": lineage.parent.incarnation,
            "parent_execution_id": lineage.parent.execution_id,
            "parent_event_id": lineage.parent.event_id,
            "detached": int(lineage.detached),
            "on_parent_continue": _text(lineage.on_parent_continue),
            "on_parent_end": _text(lineage.on_parent_end),
            "spawned_at_ms": lineage.spawned_at_ms,
            "spawner_version": lineage.spawner_version,
            "spawner_ended_at_ms": lineage.spawner_ended_at_ms,
            "spawner_end": _text(lineage.spawner_end),
            "observed_at_ms": lineage.observed_at_ms,
            "completion": lineage.completion,
            "parent_removed_at_ms": lineage.parent_removed_at_ms,
            "adopted_at_ms": lineage.adopted_at_ms,
            "adopted_by": lineage.adopted_by,
            "adopted_reason": lineage.adopted_reason,
            "given_up_at_ms": lineage.given_up_at_ms,
        }


def worker_row(worker: WorkerRecord) -> Row:
    return {
        "worker_id": worker.worker_id,
        "host": worker.host,
        "process_id": worker.process_id,
        "started_at_ms": worker.started_at_ms,
        "lease_until_ms": worker.lease_until_ms,
        "duro_version": worker.duro_version,
        "published": worker.published,
        "threads_stuck": worker.threads_stuck,
    }


def capability_rows(worker: WorkerRecord) -> Iterator[Row]:
    kinds = [("activity", name, "") for name in worker.activities]
    kinds += [("orchestration", name, version) for name, version in worker.orchestrations]
    for kind, name, version in sorted(kinds):
        yield {"worker_id": worker.worker_id, "kind": kind, "name": name, "version": version}


def request_rows(instance: Instance) -> Iterator[Row]:
    for request_id, applied_at_ms in instance.requests.items():
        yield {"request_id": request_id, "incarnation": instance.incarnation, "applied_at_ms": applied_at_ms}


def ledger_rows(instance: Instance) -> Iterator[Row]:
    for sequence, entry, run_id in instance.ledger:
        yield {
            "incarnation": instance.incarnation,
            "sequence": sequence,
            **msgspec.structs.asdict(entry),
            "run_id": run_id,
        }


def asked_rows(instance: Instance) -> Iterator[Row]:
    for options, asked in sorted(instance.asked.items(), key=lambda each: as_json(each[0])):
        yield {
            "incarnation": instance.incarnation,
            "options": as_json(options),
            "origin": as_json(asked.origin),
            "through": asked.through,
            "at_ms": asked.at_ms,
            "due_at_ms": asked.due_at_ms,
        }


def hold_row(hold: Hold) -> Row:
    return {
        "hold_id": hold.hold_id,
        "instance_id": hold.target.instance_id,
        "execution_id": hold.target.execution_id,
        "name": hold.target.name,
        "version": hold.target.version,
        "reason": hold.reason,
        "created_at_ms": hold.created_at_ms,
        "created_by": hold.by,
        "until_ms": hold.until_ms,
    }


def run_row(run: PruneRun) -> Row:
    fields = msgspec.structs.asdict(run)
    source: RunSource = fields.pop("source")
    return {"run_by" if name == "by" else name: value for name, value in fields.items()} | source._asdict()
