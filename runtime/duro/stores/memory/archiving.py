"""Archives in memory: what waits for one is listed, and what comes back is put where it was."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

import msgspec

from duro.model.archive import (
    ArchivableExecution,
    ArchivableInstance,
    ArchivedHistory,
    ArchivedLedgerRow,
    ArchivedLineage,
    KnownArchive,
    Restoration,
    RestoreResult,
    WaitingArchive,
)
from duro.model.ledger import UNDO, LedgerTotals, RunKind
from duro.model.pruning import Hold, HoldTarget
from duro.model.removal import PruneRun
from duro.model.status import ExecutionStatus, RemovalState
from duro.retention.restoring import (
    Standing,
    is_there,
    makes_instance,
    restored_ledger,
    restored_range,
    signed_sums,
)
from duro.stores.memory.families import Removed
from duro.stores.memory.instances import Execution, Instance, LedgerRow, Lineage, RunTotals, record_run
from duro.stores.memory.pruning import sum_of_runs

_LINEAGE = tuple(each for each in ArchivedLineage.__struct_fields__ if each != "parent")
_INSTANCE = tuple(
    each
    for each in ArchivableInstance.__struct_fields__
    if each not in ("removed_at_ms", "run_id", "archive", "lineage", "ledger")
)


class Archives:
    """Part of ``MemoryStore``, which has the instances and the lock."""

    _instances: dict[int, Instance]
    _by_id: dict[str, Instance]
    _children: dict[int, list[Instance]]
    _removed: dict[int, Removed]
    _holds: dict[str, Hold]
    _hold_revision: int
    _runs: dict[str, PruneRun]
    _totals: dict[str, LedgerTotals]
    _archives: dict[str, KnownArchive]
    _next_incarnation: int
    _transaction: Callable[[], AbstractContextManager[int]]
    _changed: Callable[[], None]
    _note_parent_removed: Callable[[int, int | None], None]
    _find_parent: Callable[[Lineage, int], None]
    _all_instances: Callable[[], Iterator[Instance]]

    # --- what waits --------------------------------------------------------------------------------------------

    def list_unarchived(self, limit: int, excluding: Sequence[str] = ()) -> tuple[ArchivableExecution, ...]:
        with self._transaction():
            found = [
                (execution.reclaim_at_ms, instance.incarnation, number, _archivable(instance, execution, ""))
                for instance in self._instances.values()
                for number, execution in instance.executions.items()
                if execution.unarchived and execution.archive not in excluding
            ]
            found.sort(key=lambda each: each[:3])
            return tuple(each[3] for each in found[:limit])

    def list_unarchived_instances(self, limit: int, excluding: Sequence[str] = ()) -> tuple[ArchivableInstance, ...]:
        with self._transaction():
            found = [
                (each.reclaim_at_ms, each.tree, -each.depth, number, each)
                for number, each in self._removed.items()
                if each.unarchived and each.archive not in excluding
            ]
            found.sort(key=lambda each: each[:4])
            return tuple(_archivable_instance(each[4]) for each in found[:limit])

    def list_unarchived_of(self, incarnation: int, limit: int, after: int) -> tuple[ArchivableExecution, ...]:
        with self._transaction():
            removed = self._removed.get(incarnation)
            if removed is None:
                return ()
            found = [
                _archivable(removed.instance, execution, removed.archive or "")
                for number, execution in sorted(removed.instance.executions.items())
                if number > after and (execution.removal is RemovalState.LIVE or execution.unarchived)
            ]
            return tuple(found[:limit])

    def waiting_archives(self) -> tuple[WaitingArchive, ...]:
        with self._transaction():
            executions: dict[str, list[int]] = defaultdict(list)
            instances: dict[str, list[int]] = defaultdict(list)
            for instance in self._instances.values():
                for execution in instance.executions.values():
                    if execution.unarchived:
                        executions[execution.archive or ""].append(execution.reclaim_at_ms or 0)
            for each in self._removed.values():
                if each.unarchived:
                    instances[each.archive or ""].append(each.reclaim_at_ms)
            return tuple(
                WaitingArchive(
                    archive=archive,
                    executions=len(executions[archive]),
                    instances=len(instances[archive]),
                    since_ms=min(executions[archive] + instances[archive]),
                )
                for archive in sorted({*executions, *instances})
            )

    def known_archives(self) -> tuple[KnownArchive, ...]:
        with self._transaction():
            return tuple(sorted(self._archives.values(), key=lambda each: (-each.last_used_at_ms, each.directory)))

    def remember_archive(self, directory: str, archive_id: str) -> None:
        with self._transaction() as now:
            self._archives[directory] = KnownArchive(directory=directory, archive_id=archive_id, last_used_at_ms=now)
            self._changed()

    def note_archived(self, executions: Sequence[tuple[int, int]], incarnations: Sequence[int]) -> None:
        with self._transaction():
            for incarnation, execution_id in executions:
                instance = self._instances.get(incarnation) or getattr(self._removed.get(incarnation), "instance", None)
                execution = None if instance is None else instance.executions.get(execution_id)
                if execution is not None and execution.removal is RemovalState.PRUNED:
                    execution.unarchived = False
            for incarnation in incarnations:
                removed = self._removed.get(incarnation)
                if removed is not None:
                    removed.unarchived = False
                    for execution in removed.instance.executions.values():
                        execution.unarchived = False
            self._changed()

    # --- restoring ---------------------------------------------------------------------------------------------

    def restore(self, restoration: Restoration) -> RestoreResult:
        with self._transaction() as now:
            made = makes_instance(
                restoration,
                self._standing(restoration),
                removed=restoration.incarnation in self._removed,
                next_incarnation=self._next_incarnation,
            )
            missing = [each for each in restoration.histories if made or self._is_missing(restoration, each)]
            there = len(restoration.histories) - len(missing)
            if not missing:
                return RestoreResult(there=there)
            if made:
                assert restoration.instance is not None, "makes_instance says so"
                self._come_back_from(restoration.instance, now)
            instance = self._instances[restoration.incarnation]
            for history in missing:
                instance.executions[history.execution.execution_id] = _execution(history)
            self._note_spawners(instance, made, now)
            entry = restored_range(missing, now)
            instance.live_from = min(instance.live_from, entry.first_execution_id)
            totals = RunTotals()
            totals.add(entry, new=record_run(instance, restoration.run_id, entry))
            self._add_restoration(restoration, totals, now)
            self._changed()
            return RestoreResult(
                instances=int(made),
                executions=entry.executions,
                events=entry.events,
                history_bytes=entry.history_bytes,
                there=there,
                hold_ids=(restoration.run_id,),
            )

    def _note_spawners(self, instance: Instance, made: bool, now: int) -> None:
        """How those ended that spawned it and its children, as the executions that are there tell it: what the archive
        has may be older than that."""
        for each in self._all_instances():
            lineage = each.lineage
            if lineage is None or (each is not instance and lineage.parent.incarnation != instance.incarnation):
                continue
            number, parent = lineage.parent.execution_id, self._parent_of(lineage)
            spawner = None if parent is None else parent.executions.get(number)
            if spawner is not None and spawner.completed_at_ms is not None:
                lineage.spawner_ended_at_ms, lineage.spawner_end = spawner.completed_at_ms, spawner.status
            elif made and lineage.spawner_end is None and parent is not None and parent.execution_id > number:
                later = [other.started_at_ms for other in parent.executions.values() if other.execution_id > number]
                lineage.spawner_end = ExecutionStatus.CONTINUED_AS_NEW
                if lineage.spawner_ended_at_ms is None:
                    lineage.spawner_ended_at_ms = min(later, default=now)
            elif each is instance and made and lineage.spawner_ended_at_ms is None:
                lineage.spawner_ended_at_ms = lineage.parent_removed_at_ms  # it had ended then; nobody knows how

    def _parent_of(self, lineage: Lineage) -> Instance | None:
        """There, or removed."""
        number = lineage.parent.incarnation
        return self._instances.get(number) or getattr(self._removed.get(number), "instance", None)

    def _standing(self, restoration: Restoration) -> Standing | None:
        found = self._instances.get(restoration.incarnation) or self._by_id.get(restoration.instance_id)
        if found is None:
            return None
        return Standing(found.incarnation, found.instance_id, found.execution_id, found.created_at_ms)

    def _is_missing(self, restoration: Restoration, history: ArchivedHistory) -> bool:
        found = self._instances[restoration.incarnation].executions.get(history.execution.execution_id)
        if found is None:
            return True
        is_there(history, found.removal, tuple(found.history), restoration.instance_id)
        return False

    def _come_back_from(self, archived: ArchivableInstance, now: int) -> None:
        fields = {name: getattr(archived, name) for name in _INSTANCE}
        lineage = None
        if archived.lineage is not None:
            lineage = Lineage(
                parent=archived.lineage.parent, **{name: getattr(archived.lineage, name) for name in _LINEAGE}
            )
            self._find_parent(lineage, now)
        instance = Instance(lineage=lineage, **fields)
        instance.ledger = [LedgerRow(row.sequence, row.range, row.run_id) for row in restored_ledger(archived.ledger)]
        self._instances[instance.incarnation] = instance
        self._by_id[instance.instance_id] = instance
        if lineage is not None:
            siblings = self._children[lineage.parent.incarnation]
            siblings.append(instance)
            siblings.sort(key=lambda each: each.incarnation)
        self._note_parent_removed(instance.incarnation, None)
        if instance.name in self._totals:
            self._totals[instance.name] = _unfolded(self._totals[instance.name], archived.ledger)

    def _add_restoration(self, restoration: Restoration, totals: RunTotals, now: int) -> None:
        run = totals.run(
            restoration.run_id,
            UNDO,
            kind=RunKind.RESTORE,
            by=restoration.by,
            reason="",
            source=restoration.source,
            started_at_ms=now,
            archive=restoration.archive,
        )
        before = self._runs.get(restoration.run_id)
        self._runs[restoration.run_id] = run if before is None else sum_of_runs(before, run)
        if restoration.run_id not in self._holds:
            self._hold_revision += 1
            self._holds[restoration.run_id] = Hold(
                hold_id=restoration.run_id,
                target=HoldTarget(instance_id=restoration.instance_id),
                reason="restored from an archive",
                created_at_ms=now,
                by=restoration.by,
                until_ms=restoration.hold_until_ms,
            )


def _archivable(instance: Instance, execution: Execution, archive: str) -> ArchivableExecution:
    return ArchivableExecution(
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
        input=execution.input,
        pruned_at_ms=execution.pruned_at_ms,
        run_id=execution.run_id,
        archive=archive if execution.archive is None else execution.archive,
    )


def _archivable_instance(removed: Removed) -> ArchivableInstance:
    instance = removed.instance
    lineage = instance.lineage
    return ArchivableInstance(
        **{name: getattr(instance, name) for name in _INSTANCE},
        removed_at_ms=removed.removed_at_ms,
        run_id=removed.run_id,
        archive=removed.archive or "",
        lineage=None
        if lineage is None
        else ArchivedLineage(parent=lineage.parent, **{name: getattr(lineage, name) for name in _LINEAGE}),
        ledger=tuple(
            ArchivedLedgerRow(sequence=row.sequence, range=row.entry, run_id=row.run_id) for row in instance.ledger
        ),
    )


def _execution(history: ArchivedHistory) -> Execution:
    execution = history.execution
    return Execution(
        execution_id=execution.execution_id,
        version=execution.version,
        started_at_ms=execution.started_at_ms,
        input=execution.input,
        status=execution.status,
        completed_at_ms=execution.completed_at_ms,
        history=list(history.events),
        history_bytes=execution.history_bytes,
    )


def _unfolded(totals: LedgerTotals, rows: Sequence[ArchivedLedgerRow]) -> LedgerTotals:
    executions, events, history_bytes = signed_sums(rows)
    return msgspec.structs.replace(
        totals,
        instances=totals.instances - 1,
        executions=totals.executions - executions,
        events=totals.events - events,
        history_bytes=totals.history_bytes - history_bytes,
    )
