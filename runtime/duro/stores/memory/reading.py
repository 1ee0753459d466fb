"""What clients read of the memory store."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Final

from duro.model.records import (
    ExecutionPage,
    ExecutionRecord,
    HistoryRecord,
    InstanceEnd,
    InstanceFilter,
    InstancePage,
    InstanceRecord,
    StoreInfo,
    WorkerRecord,
)
from duro.model.space import MarkedUsage, NameUsage
from duro.model.status import RemovalState
from duro.model.unregistered import shown_unregistered
from duro.naming import cursor_numbers
from duro.stores.memory.instances import Execution, Instance

SCHEMA_VERSION: Final = 4

_INSTANCE_CURSOR: Final = re.compile(r"i([0-9]{1,19})", re.ASCII)
_EXECUTION_CURSOR: Final = re.compile(r"e([0-9]{1,19})\.([0-9]{1,19})", re.ASCII)


class Reading:
    """Part of ``MemoryStore``, which has the instances and the lock."""

    url: str
    _store_id: str
    _instances: dict[int, Instance]
    _by_id: dict[str, Instance]
    _workers: dict[str, WorkerRecord]
    _transaction: Callable[[], AbstractContextManager[int]]
    _all_instances: Callable[[], Iterator[Instance]]

    def get_instance(self, instance_id: str) -> InstanceRecord | None:
        with self._transaction() as now:
            instance = self._by_id.get(instance_id)
            return self._record(instance, now) if instance is not None else None

    def _record(self, instance: Instance, now: int) -> InstanceRecord:
        """Those that wait for code that no live worker has are shown as blocked."""
        record = _instance_record(instance)
        live = [worker for worker in self._workers.values() if worker.lease_until_ms > now]
        if instance.finished or not live:
            return record
        kinds = {kind for worker in live for kind in worker.orchestrations}
        names = {name for worker in live for name in worker.activities}
        served = (instance.name, instance.version) in kinds or (
            not instance.version and any(name == instance.name for name, _ in kinds)
        )
        is_ready = instance.lease_worker_id is None and _is_due(instance.ready_at_ms, now)
        waiting = (
            activity.name
            for activity in instance.activities.values()
            if activity.lease_worker_id is None and activity.visible_at_ms <= now and activity.name not in names
        )
        return shown_unregistered(record, orchestration=is_ready and not served, activity=min(waiting, default=None))

    def instance_ids_from(self, prefix: str, limit: int) -> tuple[str, ...]:
        with self._transaction():
            ids = (each.instance_id for each in self._instances.values())
            return tuple(sorted(each for each in ids if each.startswith(prefix))[:limit])

    def list_instances(self, where: InstanceFilter, limit: int, cursor: str | None) -> InstancePage:
        before = cursor_numbers(_INSTANCE_CURSOR, cursor)
        with self._transaction() as now:
            records = (
                self._record(instance, now)
                for instance in self._instances.values()
                if before is None or (instance.incarnation,) < before
            )
            found = [record for record in records if _matches(record, where)]
            found.sort(key=lambda record: record.incarnation, reverse=True)
            page = found[:limit] if limit else found
            more = len(page) < len(found)
            return InstancePage(
                instances=tuple(page),
                next=f"i{page[-1].incarnation}" if more else None,
            )

    def list_executions(self, instance_id: str | None, limit: int, cursor: str | None) -> ExecutionPage:
        before = cursor_numbers(_EXECUTION_CURSOR, cursor)
        with self._transaction():
            found = [
                (instance, execution)
                for instance in self._instances.values()
                for execution in _live_executions(instance)
                if instance_id in (None, instance.instance_id)
                and (before is None or (instance.incarnation, execution.execution_id) < before)
            ]
            found.sort(key=lambda pair: (pair[0].incarnation, pair[1].execution_id), reverse=True)
            page = found[:limit] if limit else found
            more = len(page) < len(found)
            return ExecutionPage(
                executions=tuple(_execution_record(instance, execution) for instance, execution in page),
                next=f"e{page[-1][0].incarnation}.{page[-1][1].execution_id}" if more else None,
            )

    def get_execution(self, instance_id: str, execution_id: int) -> ExecutionRecord | None:
        with self._transaction():
            found = self._live_execution(instance_id, execution_id)
            return _execution_record(*found) if found is not None else None

    def read_history(self, instance_id: str, execution_id: int | None, after: int = 0) -> HistoryRecord | None:
        with self._transaction():
            found = self._live_execution(instance_id, execution_id)
            if found is None:
                return None
            instance, execution = found
            return HistoryRecord(
                execution=_execution_record(instance, execution),
                events=tuple(execution.history[after:]),
                input=execution.input,
            )

    def read_ends(self, instance_ids: Sequence[str]) -> dict[str, InstanceEnd]:
        with self._transaction():
            found = [instance for each in instance_ids if (instance := self._by_id.get(each)) is not None]
            return {instance.instance_id: self._end_of(instance) for instance in found}

    def _end_of(self, instance: Instance) -> InstanceEnd:
        return InstanceEnd(
            instance_id=instance.instance_id,
            incarnation=instance.incarnation,
            name=instance.name,
            version=instance.version,
            status=instance.status,
            execution_id=instance.execution_id,
            last_event=instance.current.history[-1] if instance.finished else None,
        )

    def _live_execution(self, instance_id: str, execution_id: int | None) -> tuple[Instance, Execution] | None:
        instance = self._by_id.get(instance_id)
        if instance is None:
            return None
        execution = instance.executions.get(instance.execution_id if execution_id is None else execution_id)
        if execution is None or execution.removal is not RemovalState.LIVE:
            return None
        return instance, execution

    def info(self) -> StoreInfo:
        with self._transaction():
            executions = [one for instance in self._instances.values() for one in instance.live_executions().values()]
            return StoreInfo(
                url=self.url,
                store_id=self._store_id,
                schema_version=SCHEMA_VERSION,
                engine="memory",
                instances=len(self._instances),
                executions=len(executions),
                events=sum(execution.event_count for execution in executions),
                logical_bytes=sum(execution.history_bytes for execution in executions),
                file_bytes=0,
                wal_bytes=0,
                free_bytes=0,
            )

    def usage(self, since_ms: int) -> tuple[NameUsage, ...]:
        with self._transaction():
            by_name: dict[str, list[Instance]] = {}
            for instance in self._instances.values():
                by_name.setdefault(instance.name, []).append(instance)
            return tuple(_usage(name, instances, since_ms) for name, instances in sorted(by_name.items()))

    def marked(self) -> MarkedUsage:
        with self._transaction():
            there = {id(one) for each in self._instances.values() for one in each.live_executions().values()}
            gone = [one for each in self._all_instances() for one in each.executions.values() if id(one) not in there]
            return MarkedUsage(
                executions=len(gone),
                events=sum(one.event_count for one in gone),
                history_bytes=sum(one.history_bytes for one in gone),
            )


def _matches(record: InstanceRecord, where: InstanceFilter) -> bool:
    return (
        (not where.statuses or record.status in where.statuses)
        and (where.name is None or record.name == where.name)
        and (where.blocked is None or (record.blocked is not None) == where.blocked)
    )


def _is_due(at_ms: int | None, now: int) -> bool:
    return at_ms is not None and at_ms <= now


def _live_executions(instance: Instance) -> list[Execution]:
    return [execution for execution in instance.executions.values() if execution.removal is RemovalState.LIVE]


def _instance_record(instance: Instance) -> InstanceRecord:
    return InstanceRecord(
        instance_id=instance.instance_id,
        incarnation=instance.incarnation,
        name=instance.name,
        version=instance.version,
        status=instance.status,
        execution_id=instance.execution_id,
        created_at_ms=instance.created_at_ms,
        updated_at_ms=instance.updated_at_ms,
        completed_at_ms=instance.completed_at_ms,
        event_count=instance.current.event_count,
        history_bytes=instance.current.history_bytes,
        turn_sequence=instance.turn_sequence,
        custom_status=instance.custom_status,
        parent=instance.lineage.parent if instance.lineage is not None else None,
        detached=instance.lineage is not None and instance.lineage.detached,
        cancel_reason=instance.cancel_reason,
        blocked=instance.blocked,
        blocked_reason=instance.blocked_reason,
        attempt_count=instance.attempt_count,
        lease_worker_id=instance.lease_worker_id,
        ready_at_ms=instance.ready_at_ms,
    )


def _execution_record(instance: Instance, execution: Execution) -> ExecutionRecord:
    return ExecutionRecord(
        instance_id=instance.instance_id,
        incarnation=instance.incarnation,
        execution_id=execution.execution_id,
        name=instance.name,
        version=execution.version,
        status=execution.status,
        started_at_ms=execution.started_at_ms,
        completed_at_ms=execution.completed_at_ms,
        event_count=execution.event_count,
        history_bytes=execution.history_bytes,
        removal=execution.removal,
    )


def _usage(name: str, instances: Sequence[Instance], since_ms: int) -> NameUsage:
    executions = [one for instance in instances for one in instance.live_executions().values()]
    recent = [one for one in executions if one.started_at_ms >= since_ms]
    return NameUsage(
        name=name,
        instances=len(instances),
        unfinished=sum(not instance.finished for instance in instances),
        executions=len(executions),
        events=sum(one.event_count for one in executions),
        history_bytes=sum(one.history_bytes for one in executions),
        recent_executions=len(recent),
        recent_bytes=sum(one.history_bytes for one in recent),
    )
