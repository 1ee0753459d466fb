"""What waits for its archive is handed out and, once it is there, may be reclaimed; what comes back from one is
written as it was."""

from collections.abc import Sequence
from itertools import accumulate, groupby
from operator import itemgetter
from typing import Final

import apsw
import msgspec

from duro.errors import RestoreRefusedError
from duro.model.archive import (
    ArchivableExecution,
    ArchivableInstance,
    ArchivedHistory,
    KnownArchive,
    Restoration,
    RestoreResult,
    WaitingArchive,
)
from duro.model.ledger import UNDO, RunKind
from duro.model.limits import MARK_RECLAIM_EVENTS_MAX
from duro.model.pruning import Hold, HoldTarget
from duro.model.status import RemovalState
from duro.retention.restoring import (
    Standing,
    is_there,
    makes_instance,
    restored_ledger,
    restored_range,
    signed_sums,
)
from duro.stores.sqlite import ledger, reads, retaining, sql_families, sql_pruning
from duro.stores.sqlite import sql_archiving as sql
from duro.stores.sqlite.committer import Transaction, as_json
from duro.stores.sqlite.pruning import delete, ranges
from duro.stores.sqlite.rows import REMOVED_COLUMNS

_EVENTS_MAX: Final = MARK_RECLAIM_EVENTS_MAX

_executions = msgspec.json.Decoder(list[ArchivableExecution])
_instances = msgspec.json.Decoder(list[ArchivableInstance])
_sizes = msgspec.json.Decoder(list[tuple[int, int, int]])
_known = msgspec.json.Decoder(list[KnownArchive])
_waiting = msgspec.json.Decoder(list[WaitingArchive])


def _value(connection: apsw.Connection, statement: str, values: Sequence[str | int | None]) -> str:
    row = connection.execute(statement, values).fetchone()
    assert row is not None
    return str(row[0])


# --- what waits ----------------------------------------------------------------------------------------------


def unarchived(connection: apsw.Connection, limit: int, excluding: Sequence[str]) -> tuple[ArchivableExecution, ...]:
    return tuple(_executions.decode(_value(connection, sql.UNARCHIVED, (limit, as_json(excluding)))))


def unarchived_instances(
    connection: apsw.Connection, limit: int, excluding: Sequence[str]
) -> tuple[ArchivableInstance, ...]:
    answer = _value(connection, sql.UNARCHIVED_INSTANCES, (limit, as_json(excluding)))
    return tuple(_instances.decode(answer))


def unarchived_of(
    connection: apsw.Connection, incarnation: int, limit: int, after: int
) -> tuple[ArchivableExecution, ...]:
    return tuple(_executions.decode(_value(connection, sql.UNARCHIVED_OF, (incarnation, after, limit))))


def waiting(connection: apsw.Connection) -> tuple[WaitingArchive, ...]:
    return tuple(_waiting.decode(_value(connection, sql.WAITING, ())))


def known(connection: apsw.Connection) -> tuple[KnownArchive, ...]:
    return tuple(_known.decode(_value(connection, sql.KNOWN_ARCHIVES, ())))


def remember(transaction: Transaction, directory: str, archive_id: str) -> None:
    transaction.run(sql.REMEMBER_ARCHIVE, (directory, archive_id, transaction.now_ms))


def note_archived(transaction: Transaction, executions: Sequence[tuple[int, int]], incarnations: Sequence[int]) -> None:
    if executions:
        listed = as_json(executions)
        may_go = _sizes.decode(transaction.value(sql.MAY_GO, (listed, transaction.now_ms)))
        sums = accumulate(events for _, _, events in may_go)
        going = sorted((each[0], each[1]) for each, total in zip(may_go, sums, strict=True) if total <= _EVENTS_MAX)
        for incarnation, of_instance in groupby(going, key=itemgetter(0)):
            delete(transaction, incarnation, ranges(execution_id for _, execution_id in of_instance))
        if len(going) < len(executions):
            transaction.run(sql.ARCHIVED, (listed,))
    if incarnations:
        listed = as_json(incarnations)
        transaction.run(sql.ARCHIVED_WITH_THEM, (listed,))
        transaction.run(sql.ARCHIVED_INSTANCES, (listed,))


# --- restoring -----------------------------------------------------------------------------------------------


def restore(transaction: Transaction, restoration: Restoration) -> RestoreResult:
    """Everything is looked at before anything is written: a refusal leaves no trace."""
    made = makes_instance(
        restoration,
        _standing(transaction, restoration),
        removed=bool(transaction.value(sql.IS_REMOVED, (restoration.incarnation,))),
        next_incarnation=transaction.value(sql.NEXT_INCARNATION, ()),
    )
    missing = [history for history in restoration.histories if made or _is_missing(transaction, restoration, history)]
    there = len(restoration.histories) - len(missing)
    if not missing:
        return RestoreResult(there=there)
    events = [_as_rows(history) for history in missing]
    if made:
        assert restoration.instance is not None, "makes_instance says so"
        _insert_instance(transaction, restoration.instance)
    for history, rows in zip(missing, events, strict=True):
        _insert_history(transaction, history.execution, rows)
    transaction.run(sql.NOTE_SPAWNERS, (restoration.incarnation,))
    if made:
        transaction.run(sql.NOTE_SPAWNERS_GONE, (restoration.incarnation, transaction.now_ms))
        transaction.run(sql.NOTE_PARENT_GONE, (restoration.incarnation,))
    first = min(history.execution.execution_id for history in missing)
    transaction.run(sql_pruning.RESTORED, (restoration.incarnation, first))
    entry = restored_range(missing, transaction.now_ms)
    totals = ledger.RunTotals()
    totals.add(entry, ledger.record_run(transaction, restoration.incarnation, restoration.run_id, entry))
    ledger.add_to_run(
        transaction,
        totals,
        run_id=restoration.run_id,
        by=restoration.by,
        reason="",
        source=restoration.source,
        kind=RunKind.RESTORE,
        archive=restoration.archive,
        trigger=UNDO,
    )
    _hold(transaction, restoration)
    return RestoreResult(
        instances=int(made),
        executions=entry.executions,
        events=entry.events,
        history_bytes=entry.history_bytes,
        there=there,
        hold_ids=(restoration.run_id,),
    )


def _standing(transaction: Transaction, restoration: Restoration) -> Standing | None:
    row = transaction.connection.execute(sql.STANDING, (restoration.incarnation, restoration.instance_id)).fetchone()
    return None if row is None else Standing(int(row[0]), str(row[1]), int(row[2]), int(row[3]))


def _is_missing(transaction: Transaction, restoration: Restoration, history: ArchivedHistory) -> bool:
    key = (restoration.incarnation, history.execution.execution_id)
    row = transaction.connection.execute(sql.EXECUTION_STANDING, key).fetchone()
    if row is None:
        return True
    is_there(
        history,
        RemovalState(str(row[0])),
        reads.load_histories(transaction.connection, [key])[0],
        restoration.instance_id,
    )
    return False


def _as_rows(history: ArchivedHistory) -> str:
    """Its events, to be bound as one value.

    Raises:
        RestoreRefusedError: one is not text, as SQLite has it.
    """
    try:
        return as_json(history.events)
    except UnicodeEncodeError as error:
        execution = history.execution
        raise RestoreRefusedError(
            f"{execution.instance_id}/{execution.execution_id} has an event that is not text and cannot be stored",
            hint="`duroctl history show` reads it from the archive",
        ) from error


def _insert_history(transaction: Transaction, execution: ArchivableExecution, events: str) -> None:
    key = (execution.incarnation, execution.execution_id)
    transaction.run(
        sql.INSERT_EXECUTION,
        (
            *key,
            execution.version,
            execution.status,
            execution.started_at_ms,
            execution.completed_at_ms,
            execution.event_count,
            execution.history_bytes,
            execution.input,
        ),
    )
    transaction.run(sql.INSERT_HISTORY, (*key, events))


def _insert_instance(transaction: Transaction, instance: ArchivableInstance) -> None:
    fields = msgspec.structs.asdict(instance)
    transaction.run(sql.INSERT_INSTANCE, tuple(fields[column] for column in REMOVED_COLUMNS))
    if (lineage := instance.lineage) is not None:
        transaction.run(
            sql.INSERT_LINEAGE,
            (
                instance.incarnation,
                lineage.parent.instance_id,
                lineage.parent.incarnation,
                lineage.parent.execution_id,
                lineage.parent.event_id,
                lineage.detached,
                lineage.on_parent_continue,
                lineage.on_parent_end,
                lineage.spawned_at_ms,
                lineage.spawner_version,
                lineage.spawner_ended_at_ms,
                lineage.spawner_end,
                lineage.observed_at_ms,
                lineage.completion,
                lineage.parent_removed_at_ms,
                lineage.adopted_at_ms,
                lineage.adopted_by,
                lineage.adopted_reason,
                lineage.given_up_at_ms,
            ),
        )
    listed = as_json([instance.incarnation])
    transaction.run(sql_families.LOOK_FOR_PARENTS, (listed, transaction.now_ms))
    transaction.run(sql_families.NOTE_PARENT_REMOVED, (listed, None))
    transaction.run(sql.UNFOLD_LEDGER, (instance.name, *signed_sums(instance.ledger)))
    for row in restored_ledger(instance.ledger):
        ledger.insert_range(transaction, instance.incarnation, row.sequence, row.run_id, row.range)


def _hold(transaction: Transaction, restoration: Restoration) -> None:
    """One for all parts of a restoration."""
    if transaction.value(sql_pruning.HOLD_EXISTS, (restoration.run_id,)):
        return
    hold = Hold(
        hold_id=restoration.run_id,
        target=HoldTarget(instance_id=restoration.instance_id),
        reason="restored from an archive",
        created_at_ms=transaction.now_ms,
        by=restoration.by,
        until_ms=restoration.hold_until_ms,
    )
    retaining.insert_holds(transaction, [hold])
